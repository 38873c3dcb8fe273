"""What nobody can use stops nothing: poison on every topic, then good work through all of them, and the letters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from jobyard_common.contracts.topics import (
    AUDIT,
    FILES_EVENTS,
    JOBS_COMMANDS,
    JOBS_EVENTS,
    JOBS_INTAKE,
    JOBS_OUTPUT,
    LOGS,
)

from tests.support.yard import Yard, until

pytestmark = [pytest.mark.serial, pytest.mark.timeout(300)]
READ = (JOBS_INTAKE, JOBS_COMMANDS, JOBS_EVENTS, JOBS_OUTPUT, FILES_EVENTS, LOGS, AUDIT)
SUBMIT = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"x"), ("ce_type", b"jobyard.job.submit.v1")]
POISON: tuple[tuple[bytes | None, list[tuple[str, bytes]]], ...] = (
    (None, []),
    (b"", []),
    (b"\xff\xfe\x00 no JSON", []),
    (b"[" * 5000, []),
    (b'{"tool": 5, "job_id": "../../etc"}', SUBMIT),
    (b'{"job":{"id":"job_\\u0000"},"lines":[],"text":"\\ud800"}', [("ce_type", b"\xff"), ("traceparent", b"00-zz")]),
)


def poison(bootstrap: str) -> dict[str, int]:
    """Every kind of poison to every partition of every topic that somebody reads; returns how many records each got."""

    async def send() -> dict[str, int]:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
        await producer.start()
        try:
            sent = {}
            for topic in READ:
                partitions = await producer.partitions_for(topic.name)
                for partition in partitions:
                    for value, headers in POISON:
                        await producer.send_and_wait(topic.name, value, b"poison", partition, headers=headers)
                sent[topic.name] = len(partitions) * len(POISON)
            return sent
        finally:
            await producer.stop()

    return asyncio.run(send())


def messages(yard: Yard, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = yard.get("/v1/dead-messages", **(query | {"limit": 200} | ({"cursor": cursor} if cursor else {})))
        found += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_poison_on_every_topic_stops_no_partition(yard: Yard) -> None:
    sent = poison(yard.stack.facts["broker"]["bootstrap"])
    for number in range(30):
        job = yard.submit("test.print", {"lines": 1}, tags=[f"after-{number}"])
        yard.until_state(job["id"], "succeeded")
    lines = f"/v1/jobs/{job['id']}/logs"
    until(lambda: yard.get(lines)["data"] or None, what="output behind the poison")
    until(lambda: yard.get("/v1/audit")["data"] or None, what="audit behind the poison")
    for topic in READ:
        # A record without a value means "deleted" to some readers; every other kind is refused by all of them.
        least = sent[topic.name] * (len(POISON) - 1) // len(POISON)

        def refused(name: str = topic.name, least: int = least) -> list[dict[str, Any]] | None:
            rows = [row for row in messages(yard, topic=name) if row["key"] == "poison"]
            return rows if len({(row["partition"], row["offset"]) for row in rows}) >= least else None

        rows = until(refused, what=f"{least} dead letters of {topic.name}")
        assert {row["topic"] for row in rows} == {topic.name}
        assert all(row["reason"] and row["group"] for row in rows)


def test_an_intake_record_is_repaired_and_replayed(yard: Yard) -> None:
    bootstrap = yard.stack.facts["broker"]["bootstrap"]

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
        await producer.start()
        broken = b'{"tool": "test.noop", "tags": ["repaired"]'
        await producer.send_and_wait(JOBS_INTAKE.name, broken, b"order-1", headers=[("correlation-id", b"order-1")])
        await producer.stop()

    asyncio.run(send())

    def refused() -> dict[str, Any] | None:
        rows = [row for row in messages(yard, topic="jobs.intake") if row["key"] == "order-1"]
        return rows[0] if rows else None

    letter = until(refused, what="the dead letter")
    body = {"value": letter["value"] + "}", "note": "the last bracket"}
    answer = yard.http.post(f"/v1/dead-messages/{letter['id']}/replay", json=body)
    assert (answer.status_code, answer.json()["state"]) == (202, "replayed"), answer.text
    jobs = until(lambda: yard.get("/v1/jobs", tag="repaired")["data"] or None, what="the job of the replay")
    assert jobs[0]["correlation_id"] == "order-1"
    assert yard.until_state(jobs[0]["id"], "succeeded")
    assert yard.http.post(f"/v1/dead-messages/{letter['id']}/replay", json=body).status_code == 409


def test_dead_jobs_are_replayed_by_a_bulk_operation(yard: Yard) -> None:
    jobs = [yard.submit("test.fail", tags=["dead-bulk"], retry={"max_attempts": 1}) for _ in range(3)]
    for job in jobs:
        assert yard.until_state(job["id"], "failed")["dead"] is True
    listed = yard.get("/v1/dead-letters", tag="dead-bulk")["data"]
    assert {row["id"] for row in listed} == {job["id"] for job in jobs}
    body = {"action": "replay", "filter": {"tag": "dead-bulk"}, "dead": True, "rate_per_s": 50, "note": "again"}
    dry = yard.http.post("/v1/bulk-operations", json=body | {"dry_run": True})
    assert (dry.status_code, dry.json()["matched"]) == (200, 3), dry.text
    started = yard.http.post("/v1/bulk-operations", json=body)
    assert started.status_code == 202, started.text

    def done() -> dict[str, Any] | None:
        found = yard.get(f"/v1/bulk-operations/{started.json()['id']}")
        return found if found["state"] == "done" else None

    found = until(done, what="the end of the operation")
    assert (found["matched"], found["done"], found["refused"]) == (3, 3, {})
    replayed = yard.get("/v1/dead-letters", tag="dead-bulk", state="replayed")["data"]
    assert {row["handled"]["note"] for row in replayed} == {"again"}
    for row in replayed:
        again = yard.until_state(row["handled"]["new_job_id"], "failed")
        assert again["origin_id"] == row["id"]


def test_a_schedule_fires_through_the_whole_stack(yard: Yard) -> None:
    body = {"name": "pulse", "template": {"tool": "test.noop", "tags": ["pulse"]}, "interval_s": 1, "overlap": "skip"}
    made = yard.http.post("/v1/schedules", json=body)
    assert made.status_code == 201, made.text
    path = f"/v1/schedules/{made.json()['id']}"
    try:

        def ended() -> dict[str, Any] | None:
            rows = [row for row in yard.get(f"{path}/fires")["data"] if row["job_state"] == "succeeded"]
            return rows[0] if rows else None

        fire = until(ended, what="a fire that ran")
        job = yard.job(fire["job_id"])
        assert (job["schedule_id"], job["tags"]) == (made.json()["id"], ["pulse"])
        story = yard.get(f"/v1/jobs/{job['id']}/events")["data"]
        assert story[0]["actor"] == {"kind": "schedule", "id": made.json()["id"]}
        stale = yard.http.put(path, json=body, headers={"If-Match": '"99"'})
        assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    finally:
        assert yard.http.delete(path).status_code == 204
