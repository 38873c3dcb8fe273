"""Outputs of jobs: hidden until their attempt counts, released by its event or the executor's word."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import time

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from jobyard_common.contracts import wire
from jobyard_common.contracts.envelope import decode, encode, new_envelope
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import ActorKind

TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = TUS | {"Content-Type": "application/offset+octet-stream"}
TRACE = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


def put(client, job_id, content, *, attempt=1, fence=5, name="out.csv", **headers):
    return client.put(
        f"/internal/v1/outputs/{job_id}/{attempt}/{fence}", params={"name": name}, content=content, headers=headers
    )


def within(probe, what, *, timeout_s=15.0):
    deadline = time.monotonic() + timeout_s
    while not (answer := probe()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return answer


def job_event(tenant, job_id, state, *, verb, inputs=(), outputs=()):
    """As the executor publishes it: key, value and headers of the record."""
    job = {"id": job_id, "state": state, "files": {f"slot{n}": one for n, one in enumerate(inputs)}, "tool": "x"}
    value = {
        "job": job,
        "tenant": tenant,
        "incarnation": 1,
        "event_no": 1,
        "output_seq": 0,
        "actor": {"kind": "worker", "id": "w1"},
        "outputs": list(outputs),
    }
    envelope = new_envelope(
        f"jobyard.job.{verb}.v1", source="/jobyard/executor", subject=job_id, correlation_id="c1", traceparent=TRACE
    )
    return job_id.encode(), wire.encode(value), encode(envelope)


def publish(bootstrap, topic, records):
    async def run():
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        await producer.start()
        try:
            for key, value, headers in records:
                await producer.send_and_wait(topic, value=value, key=key, headers=headers, partition=0)
        finally:
            await producer.stop()

    asyncio.run(run())


def read_all(bootstrap, topic):
    """Every record of a topic."""

    async def run():
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            parts = [TopicPartition(topic, number) for number in range(1 if topic.endswith(".dlt") else 2)]
            consumer.assign(parts)
            await consumer.seek_to_beginning(*parts)
            ends = await consumer.end_offsets(parts)
            rows = []
            while [part for part, end in ends.items() if await consumer.position(part) < end]:
                for found in (await consumer.getmany(timeout_ms=200)).values():
                    rows += found
            return rows
        finally:
            await consumer.stop()

    return asyncio.run(run())


def execute(files, sql):
    async def run():
        db = await asyncpg.connect(files.dsn)
        try:
            return await db.fetch(sql)
        finally:
            await db.close()

    return asyncio.run(run())


def test_an_output_is_hidden_until_the_executor_says_that_it_counts(files):
    job_id, content = new_id("job"), b"a,b\n" * 1000
    with files.client() as client:
        made = put(client, job_id, content)
        assert made.status_code == 201
        told = made.json()
        assert (told["name"], told["size"], told["sha256"], told["content_type"]) == (
            "out.csv",
            4000,
            hashlib.sha256(content).hexdigest(),
            "text/csv",
        )
        url = f"/v1/files/{told['file_id']}"
        assert client.get(url).status_code == 404
        assert client.get(f"{url}/content").status_code == 404
        assert client.delete(url).status_code == 404
        assert client.get("/v1/files").json()["data"] == []
        assert client.get(f"/internal{url}/content").content == content
        assert client.post("/internal/v1/files/exists", json={"ids": [told["file_id"]]}).json() == {"known": []}
        files.executor.verdicts[f"{job_id}/1/5"] = False
        assert client.get(f"{url}/content").status_code == 404
        files.executor.verdicts[f"{job_id}/1/5"] = True
        assert client.get(f"{url}/content").content == content
        assert client.get(url).json()["job_id"] == job_id
        assert [row["id"] for row in client.get("/v1/files", params={"job_id": job_id}).json()["data"]] == [
            told["file_id"]
        ]
        asked = len(files.executor.asked)
        assert client.get(f"{url}/content").status_code == 200
        assert len(files.executor.asked) == asked


def test_while_the_executor_is_away_nobody_is_told_that_an_output_does_not_exist(files):
    job_id = new_id("job")
    with files.client() as client:
        file_id = put(client, job_id, b"x").json()["file_id"]
        files.executor.away = True
        try:
            answer = client.get(f"/v1/files/{file_id}/content")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            known = client.post("/internal/v1/files/exists", json={"ids": [file_id]})
            assert known.status_code == 503
        finally:
            files.executor.away = False


def test_the_same_output_again_is_the_same_file(files):
    job_id = new_id("job")
    with files.client() as client:
        first = put(client, job_id, b"same").json()
        assert put(client, job_id, b"same").json() == first
        assert put(client, job_id, b"other").json()["file_id"] != first["file_id"]
        assert put(client, job_id, b"same", fence=6).json()["file_id"] != first["file_id"]


def test_hostile_outputs_get_their_exact_answers(files):
    job_id = new_id("job")
    with files.client() as client:
        assert put(client, "job_1", b"x").status_code == 404
        assert put(client, job_id, b"x", attempt=2**31).status_code == 404
        assert put(client, job_id, b"x", fence=2**63).status_code == 404
        assert put(client, job_id, b"x", attempt="one").status_code == 404
        assert put(client, job_id, b"x", name="").status_code == 422
        assert put(client, job_id, b"", name="../../a\0b.txt").json()["name"] == "ab.txt"
        for body, status in ((b"{", 400), (b"[]", 400), (b'{"ids": [1]}', 400), (b"x" * 300_000, 413)):
            assert client.post("/internal/v1/files/exists", content=body).status_code == status
        many = json.dumps({"ids": ["x"] * 1001}).encode()
        assert client.post("/internal/v1/files/exists", content=many).status_code == 422
        weird = {"ids": ["", "file_1", "../etc", "file_00" + "Z" * 26, "\u0000"]}
        assert client.post("/internal/v1/files/exists", json=weird).json() == {"known": []}


def test_an_output_that_is_declared_too_large_is_refused_before_it_comes(files):
    with files.client() as client, socket.create_connection(("127.0.0.1", files.port), timeout=10) as line:
        own = "".join(f"{name}: {value}\r\n" for name, value in client.headers.items())
        path = f"/internal/v1/outputs/{new_id('job')}/1/1?name=x"
        line.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\n{own}Content-Length: {11 * 2**30}\r\n\r\n".encode())
        assert line.recv(65536).startswith(b"HTTP/1.1 413")


def test_an_output_whose_body_is_cut_leaves_nothing(files):
    job_id = new_id("job")
    with files.client() as client, socket.create_connection(("127.0.0.1", files.port), timeout=10) as line:
        own = "".join(f"{name}: {value}\r\n" for name, value in client.headers.items())
        path = f"/internal/v1/outputs/{job_id}/1/1?name=x"
        line.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\n{own}Content-Length: 100\r\n\r\nabc".encode())
        time.sleep(0.2)
    assert execute(files, f"SELECT 1 FROM file WHERE job_id = '{job_id}'") == []


def test_exists_knows_own_complete_files_only(files):
    with files.client() as client, files.client(tenant="tnt_other") as other:
        made = client.post("/v1/files", headers=OCTETS | {"Upload-Length": "3"}, content=b"abc")
        ready = made.headers["Location"].rpartition("/")[2]
        opened = client.post("/v1/files", headers=TUS | {"Upload-Length": "3"}).headers["Location"].rpartition("/")[2]
        ids = {"ids": [opened, ready, ready]}
        known = client.post("/internal/v1/files/exists", json=ids).json()
        assert known["known"] == [ready]
        assert set(known.get("sha256", {})) <= {ready}
        assert other.post("/internal/v1/files/exists", json=ids).json() == {"known": []}


def test_equal_contents_are_stored_once_and_outlive_each_other(make_files):
    content = b"shared" * 1000
    files = make_files(unused_blob_s="1", sweep_every_s="0.2")
    with files.client() as client, files.client(tenant="tnt_b") as other:
        headers = OCTETS | {"Upload-Length": str(len(content))}
        urls = [one.post("/v1/files", headers=headers, content=content).headers["Location"] for one in (client, other)]
        blobs = list(files.data_dir.glob("blobs/*/*/*"))
        assert [blob.name for blob in blobs] == [hashlib.sha256(content).hexdigest()]
        assert client.delete(urls[0]).status_code == 204
        time.sleep(2.5)
        assert other.get(f"{urls[1]}/content").content == content
        assert other.delete(urls[1]).status_code == 204
        within(lambda: not blobs[0].exists(), "the content is removed once no file names it")
        again = client.post("/v1/files", headers=headers, content=content).headers["Location"]
        assert client.get(f"{again}/content").content == content


@pytest.mark.serial
def test_the_end_of_a_job_releases_its_outputs_and_its_inputs(make_files, executor, servers, topic_prefix):
    files, job_id = make_files(), new_id("job")
    with files.client() as client:
        made = client.post("/v1/files", headers=OCTETS | {"Upload-Length": "3"}, content=b"abc")
        source = made.headers["Location"].rpartition("/")[2]
        good = put(client, job_id, b"good", name="good.txt").json()["file_id"]
        stale = put(client, job_id, b"stale", name="stale.txt", fence=4).json()["file_id"]
        foreign = put(client, new_id("job"), b"foreign").json()["file_id"]
        accepted = job_event("tnt_a", job_id, "queued", verb="accepted", inputs=[source])
        malformed = (job_id.encode(), b"{", accepted[2])
        stranger = (b"k", accepted[1], [])
        publish(servers.kafka, f"{topic_prefix}jobs.events", [malformed, stranger, accepted])
        within(lambda: execute(files, "SELECT 1 FROM input_hold"), "the input is held")
        refused = client.delete(f"/v1/files/{source}")
        assert (refused.status_code, refused.json()["reason"]) == (409, "file_in_use")
        end = job_event("tnt_a", job_id, "succeeded", verb="succeeded", inputs=[source], outputs=[good, foreign])
        publish(servers.kafka, f"{topic_prefix}jobs.events", [end, end])
        listed = within(lambda: client.get("/v1/files", params={"job_id": job_id}).json()["data"], "released")
        assert [row["id"] for row in listed] == [good]
        assert executor.asked == []
        assert client.get(f"/v1/files/{good}/content").content == b"good"
        assert client.get(f"/v1/files/{stale}").status_code == 404
        assert client.get(f"/v1/files/{foreign}").status_code == 404
        within(lambda: not execute(files, "SELECT 1 FROM input_hold"), "the input is free")
        assert client.delete(f"/v1/files/{source}").status_code == 204
    dead = within(lambda: read_all(servers.kafka, f"{topic_prefix}jobs.events.dlt"), "dead letters")
    assert {row.value for row in dead} == {b"{", accepted[1]}
    within(lambda: not execute(files, "SELECT 1 FROM outbox"), "the outbox is empty")
    told = [
        (decode(list(row.headers)).type.split(".")[2], json.loads(row.value)["file"]["id"])
        for row in read_all(servers.kafka, f"{topic_prefix}files.events")
    ]
    assert [verb for verb, file_id in told if file_id == source] == ["created", "completed", "deleted"]
    assert [verb for verb, file_id in told if file_id == good] == ["created", "released"]
    assert [verb for verb, file_id in told if file_id == stale] == ["created"]
    audit = [json.loads(row.value) for row in read_all(servers.kafka, f"{topic_prefix}audit")]
    assert [(row["action"], row["target"], row["actor"]) for row in audit] == [
        ("file.delete", source, {"kind": str(ActorKind.KEY), "id": "key_1"})
    ]


@pytest.mark.serial
def test_held_outputs_go_only_on_the_executors_word(make_files, executor):
    files = make_files(held_outputs_s="1", sweep_every_s="0.2", unused_blob_s="1")
    running, discarded, kept = new_id("job"), new_id("job"), new_id("job")
    executor.away = True
    with files.client() as client:
        ids = {job: put(client, job, job.encode()).json()["file_id"] for job in (running, discarded, kept)}
        within(lambda: len(executor.asked) >= 3, "the executor was asked")
        time.sleep(1.5)
        assert {row["state"] for row in execute(files, "SELECT state FROM file")} == {"held"}
        executor.verdicts = {f"{running}/1/5": None, f"{discarded}/1/5": False, f"{kept}/1/5": True}
        executor.away = False
        within(lambda: client.get(f"/v1/files/{ids[discarded]}").status_code == 410, "the discarded one is gone")
        within(lambda: len(client.get("/v1/files").json()["data"]) == 1, "the committed one is released")
        assert client.get(f"/internal/v1/files/{ids[running]}/content").content == running.encode()
        within(lambda: len(list(files.data_dir.glob("blobs/*/*/*"))) == 2, "the bytes of the discarded one are gone")


@pytest.mark.serial
def test_uploads_expire_and_leave_nothing(make_files):
    files = make_files(upload_life_s="1", sweep_every_s="0.2", tombstone_s="2")
    with files.client() as client:
        url = client.post("/v1/files", headers=TUS | {"Upload-Length": "9"}).headers["Location"]
        assert client.patch(url, content=b"abc", headers=OCTETS | {"Upload-Offset": "0"}).status_code == 204
        within(lambda: client.head(url, headers=TUS).status_code == 410, "expired")
        within(lambda: not list(files.data_dir.glob("parts/*/*")), "its bytes are gone")
        assert client.patch(url, content=b"d", headers=OCTETS | {"Upload-Offset": "3"}).status_code in (404, 410)
        within(lambda: client.head(url, headers=TUS).status_code == 404, "its tombstone is forgotten")
