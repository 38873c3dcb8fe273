"""From a body to a command on the topic, and back through reads, on real Kafka, PostgreSQL and Valkey."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import asyncpg
import httpx
import msgspec
from jobyard_common.contracts.envelope import decode
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import SUBMIT, SubmitJob
from jobyard_common.contracts.tools import FileSlot, Isolation, Level, ToolDefinition
from jobyard_common.testing.eventually import eventually

NOWHERE = "127.0.0.1:1"
BODY = {"tool": "echo", "parameters": {"value": 1}}


async def until_ready(http: httpx.AsyncClient) -> None:
    """The tool has come, and Kafka was reached."""

    async def probe() -> bool:
        known = (await http.get("/v1/tools/echo")).status_code == 200
        return known and (await http.get("/readyz")).json()["checks"]["kafka"]["status"] == "ok"

    await eventually(probe, what="tool and broker")


def shown(job_id: str, state: str = "queued") -> dict[str, Any]:
    return {"id": job_id, "state": state, "version": 1, "trace_id": "a" * 32, "correlation_id": "c"}


def test_a_submit_is_on_the_topic_before_its_202(yard: Any) -> None:
    async def story() -> None:
        await yard.define(_echo())
        trace, parent = secrets.token_hex(16), secrets.token_hex(8)
        async with yard.running() as running:
            await until_ready(running.http)
            headers = {"traceparent": f"00-{trace}-{parent}-01", "X-Correlation-Id": "order-7"}
            answer = await running.http.post("/v1/jobs", json=BODY, headers=headers)
            assert answer.status_code == 202, answer.text
            job = answer.json()
            assert (job["state"], job["version"], job["trace_id"], job["correlation_id"]) == (
                "accepted",
                0,
                trace,
                "order-7",
            )
            assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
            (record,) = await yard.records("jobs.commands", count=1)
            command = msgspec.json.decode(record.value, type=SubmitJob)
            envelope = decode(list(record.headers))
            assert record.key == job["id"].encode()
            assert (command.job_id, command.tenant, command.keyed) == (job["id"], "tnt_default", False)
            assert (envelope.type, envelope.subject, envelope.correlation_id) == (SUBMIT, job["id"], "order-7")
            assert envelope.traceparent[3:35] == trace
            # The executor has not seen it: the ledger answers, and reads carry the barrier.
            assert (await running.http.get(f"/v1/jobs/{job['id']}")).json() == job
            asked = yard.stand_in.asked[-1]
            assert asked[1] == f"/internal/v1/jobs/{job['id']}"
            assert asked[2]["x-jobyard-after"] == f"{record.partition}:{record.offset}"
            assert asked[2]["x-jobyard-tenant"] == "tnt_default"
            yard.stand_in.jobs[job["id"]] = shown(job["id"])
            assert (await running.http.get(f"/v1/jobs/{job['id']}")).json()["state"] == "queued"
            assert (await running.http.get(f"/v1/jobs/{new_id('job')}")).status_code == 404

    asyncio.run(story())


def test_a_key_makes_one_job_with_and_without_valkey(yard: Any) -> None:
    async def story(valkey: str | None) -> str:
        async with yard.running(valkey_url=valkey) as running:
            await until_ready(running.http)
            key = {"Idempotency-Key": "order-1"}
            answers = await asyncio.gather(*(running.http.post("/v1/jobs", json=BODY, headers=key) for _ in range(8)))
            assert {answer.status_code for answer in answers} == {202}
            ids = {answer.json()["id"] for answer in answers}
            assert len(ids) == 1
            assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) <= 1
            job_id = ids.pop()
            assert job_id[-26] == "7"
            other = await running.http.post("/v1/jobs", json=BODY | {"priority": 1}, headers=key)
            assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")
            again = await running.http.post("/v1/jobs", json=dict(reversed(BODY.items())), headers=key)
            assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
            records = await yard.records("jobs.commands", count=1)
            command = msgspec.json.decode(records[0].value, type=SubmitJob)
            yard.stand_in.jobs[job_id] = shown(job_id)
            yard.stand_in.hashes[job_id] = command.body_hash
            return str(job_id)

    async def both() -> None:
        await yard.define(_echo())
        first = await story(f"redis://{NOWHERE}/0")
        # A gateway that remembers nothing asks the executor.
        assert await story(f"redis://{NOWHERE}/0") == first
        assert await story(yard.valkey) == first
        assert len(await yard.records("jobs.commands", count=2, timeout_s=2)) == 1

    asyncio.run(both())


def test_without_kafka_a_promise_goes_into_the_spool_and_leaves_it_in_order(yard: Any) -> None:
    async def story() -> None:
        await yard.define(_echo())
        async with yard.running() as running:
            # The copy of the registry outlives Kafka.
            await until_ready(running.http)
            await eventually(lambda: _copied(yard.dsn), what="copy of the tool")
        async with yard.running(kafka_bootstrap=NOWHERE) as running:
            answer = await running.http.post("/v1/jobs", json=BODY)
            assert answer.status_code == 202, answer.text
            job_id = answer.json()["id"]
            assert (await running.http.get(f"/v1/jobs/{job_id}")).json() == answer.json()
            yard.stand_in.jobs[job_id] = shown(job_id)
            cancelled = await running.http.post(f"/v1/jobs/{job_id}/cancel")
            assert cancelled.status_code == 202, cancelled.text
        async with yard.running() as running:
            await until_ready(running.http)
            records = await yard.records("jobs.commands", count=2)
            kinds = [decode(list(record.headers)).type.split(".")[2] for record in records]
            assert kinds == ["submit", "cancel"]
            assert {record.key for record in records} == {job_id.encode()}

    asyncio.run(story())


def test_everything_answers_without_valkey(yard: Any) -> None:
    async def story() -> None:
        await yard.define(_echo())
        async with yard.running(valkey_url=f"redis://{NOWHERE}/0") as running:
            await until_ready(running.http)
            answer = await running.http.post("/v1/jobs", json=BODY)
            assert answer.status_code == 202
            assert (await running.http.get(f"/v1/jobs/{answer.json()['id']}")).status_code == 200
            assert (await running.http.get(f"/v1/jobs/{new_id('job')}")).status_code == 404
            assert (await running.http.get("/readyz")).status_code == 200

    asyncio.run(story())


def test_without_the_executor_only_what_was_promised_is_shown(yard: Any) -> None:
    async def story() -> None:
        await yard.define(_echo())
        async with yard.running(executor_url=f"http://{NOWHERE}", files_url=f"http://{NOWHERE}") as running:
            await until_ready(running.http)
            job = (await running.http.post("/v1/jobs", json=BODY)).json()
            assert (await running.http.get(f"/v1/jobs/{job['id']}")).json() == job
            unsure = await running.http.get(f"/v1/jobs/{new_id('job')}")
            assert (unsure.status_code, unsure.json()["code"]) == (503, "unavailable")
            assert unsure.headers["Retry-After"]
            child = await running.http.post("/v1/jobs", json=BODY | {"depends_on": [job["id"]]})
            assert child.status_code == 202, "a parent promised here needs nobody's word"
            stranger = await running.http.post("/v1/jobs", json=BODY | {"depends_on": [new_id("job")]})
            assert (stranger.status_code, stranger.json()["code"]) == (503, "unavailable")
            files = await running.http.post("/v1/jobs", json=BODY | {"files": {"data": new_id("file")}})
            assert files.status_code == 503
            assert (await running.http.get("/v1/jobs")).status_code == 503

    asyncio.run(story())


def test_references_are_checked_once(yard: Any) -> None:
    async def story() -> None:
        await yard.define(_echo())
        known = new_id("file")
        yard.stand_in.known_files.append(known)
        async with yard.running() as running:
            await until_ready(running.http)
            for _ in range(3):
                assert (await running.http.post("/v1/jobs", json=BODY | {"files": {"data": known}})).status_code == 202
            assert [path for _, path, _ in yard.stand_in.asked].count("/internal/v1/files/exists") == 1
            bad = await running.http.post(
                "/v1/jobs",
                json=BODY | {"files": {"data": new_id("file")}, "depends_on": [new_id("job")], "queue": "gone"},
            )
            assert bad.status_code == 422
            assert [row["pointer"] for row in bad.json()["errors"]] == ["/files/data", "/depends_on/0", "/queue"]
            assert (await running.http.post("/v1/jobs", json=BODY | {"queue": "slow"})).status_code == 202

    asyncio.run(story())


def test_a_batch_publishes_the_good_and_names_the_bad(yard: Any) -> None:
    async def story() -> None:
        await yard.define(_echo())
        async with yard.running() as running:
            await until_ready(running.http)
            items = [
                BODY,
                {"tool": "gone"},
                BODY | {"priority": 99},
                BODY | {"idempotency_key": "k"},
                BODY | {"idempotency_key": "k"},
            ]
            answer = await running.http.post("/v1/job-batches", json={"items": items})
            assert answer.status_code == 202, answer.text
            body = answer.json()
            assert (body["accepted"], body["rejected"]) == (3, 2)
            assert [row.get("problem", {}).get("code") for row in body["items"]] == [
                None, "unknown_tool", "validation_failed", None, None,
            ]  # fmt: skip
            assert body["items"][3]["job_id"] == body["items"][4]["job_id"]
            assert len(await yard.records("jobs.commands", count=3, timeout_s=3)) == 2
            for wrong, status in ((b'{"items": [', 400), (b'{"items": 5}', 422), (b'{"items": []}', 422), (b"[]", 422)):
                headers = {"Content-Type": "application/json"}
                refused = await running.http.post("/v1/job-batches", content=wrong, headers=headers)
                assert refused.status_code == status, refused.text

    asyncio.run(story())


def test_a_command_answers_with_what_became_of_it(yard: Any) -> None:
    async def story() -> None:
        async with yard.running() as running:
            done, waiting, fresh = new_id("job"), new_id("job"), new_id("job")
            yard.stand_in.jobs = {done: shown(done, "succeeded"), waiting: shown(waiting), fresh: shown(fresh)}
            await running.http.get("/readyz")
            refused = await running.http.post(f"/v1/jobs/{done}/cancel")
            assert (refused.status_code, refused.json()["code"]) == (409, "job_finished")
            assert not await yard.records("jobs.commands", count=1, timeout_s=1)
            yard.stand_in.outcomes = [{"outcome": "job_not_finished"}, {"outcome": "applied", "job_id": fresh}]
            refused = await running.http.post(f"/v1/jobs/{waiting}/retry")
            assert (refused.status_code, refused.json()["code"]) == (409, "job_not_finished")
            made = await running.http.post(f"/v1/jobs/{done}/replay", json={"parameters": {"value": 2}})
            assert (made.status_code, made.json()["id"]) == (202, fresh)
            assert made.headers["Location"] == f"/v1/jobs/{fresh}"
            assert (await running.http.post(f"/v1/jobs/{new_id('job')}/cancel")).status_code == 404

    asyncio.run(story())


async def _copied(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        return bool(await connection.fetchval("SELECT count(*) FROM tool"))
    finally:
        await connection.close()


def _echo() -> ToolDefinition:
    schema = msgspec.Raw(b'{"type":"object","properties":{"value":{}},"additionalProperties":false}')
    slots = {"data": FileSlot(required=False)}
    return ToolDefinition("echo", "1", "Echo", "", schema, "default", Isolation.ASYNC, Level.L0, "h", slots=slots)


def test_large_parameters_go_by_a_file_and_the_refusal_says_so(yard: Any) -> None:
    async def story() -> None:
        await yard.define(_echo())
        file_id = new_id("file")
        yard.stand_in.known_files = [file_id]
        async with yard.running() as running:
            await until_ready(running.http)
            large = await running.http.post("/v1/jobs", json={"tool": "echo", "parameters": {"value": "x" * 300_000}})
            assert (large.status_code, large.json()["code"]) == (413, "payload_too_large")
            assert "$parameters" in large.json()["detail"]
            answer = await running.http.post("/v1/jobs", json={"tool": "echo", "files": {"$parameters": file_id}})
            assert answer.status_code == 202, answer.text
            both = {"tool": "echo", "parameters": {"value": 1}, "files": {"$parameters": file_id}}
            refused = await running.http.post("/v1/jobs", json=both)
            assert [row["pointer"] for row in refused.json()["errors"]] == ["/parameters"]
            gone = {"tool": "echo", "files": {"$parameters": new_id("file")}}
            refused = await running.http.post("/v1/jobs", json=gone)
            assert [row["pointer"] for row in refused.json()["errors"]] == ["/files/$parameters"]
            checked = await running.http.post("/v1/tools/echo/validate", json={"files": {"$parameters": file_id}})
            assert checked.json() == {"valid": True}
            (record,) = await yard.records("jobs.commands", count=1)
            command = msgspec.json.decode(record.value, type=SubmitJob)
            assert (command.spec.files, bytes(command.spec.parameters)) == ({"$parameters": file_id}, b"{}")

    asyncio.run(story())


def test_the_input_of_a_caching_tool_has_one_name_for_the_same_content(yard: Any) -> None:
    async def story() -> None:
        caching = msgspec.structs.replace(_echo(), cache_ttl_s=60.0, slots={"data": FileSlot(required=False)})
        await yard.define(caching)
        files = [new_id("file") for _ in range(4)]
        yard.stand_in.known_files = files
        yard.stand_in.contents = {files[0]: "ab", files[1]: "ab", files[2]: "cd"}
        async with yard.running() as running:
            await until_ready(running.http)
            for file_id in files:
                body = {**BODY, "files": {"data": file_id}}
                assert (await running.http.post("/v1/jobs", json=body)).status_code == 202
            assert (await running.http.get("/v1/tools/echo")).json()["cache_ttl_s"] == 60.0
            records = await yard.records("jobs.commands", count=4)
            specs = [msgspec.json.decode(record.value, type=SubmitJob).spec for record in records]
            keys = {spec.files["data"]: spec.cache and spec.cache.key for spec in specs}
            assert keys[files[0]] == keys[files[1]] != keys[files[2]]
            assert keys[files[3]] is None, "a file without a hash yet has no name"

    asyncio.run(story())
