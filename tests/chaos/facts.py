"""What PostgreSQL and the topics say once all is quiet; the checker knows nothing else beside the journal."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from jobyard_common.contracts.topics import JOBS_COMMANDS, JOBS_EVENTS, dlt, topic_name

from tests.support.cast import Ground

TERMINAL = ("succeeded", "failed", "cancelled", "expired")


@dataclass(frozen=True)
class Job:
    """A row of the executor; `n` is the number that the driver put into the job's metadata."""

    job_id: str
    tenant: str
    state: str
    event_no: int
    attempt: int
    failures: int
    lost: int
    max_attempts: int
    n: int | None
    tool: str
    reason: str | None = None


@dataclass(frozen=True)
class Step:
    """A lifecycle row or the same step in the monitor's timeline."""

    event_no: int
    type: str
    state: str
    attempt: int


@dataclass(frozen=True)
class Attempt:
    attempt: int
    fence: int
    worker: str
    verdict: str
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True)
class Event:
    """One record of `jobs.events`; `digest` is of all its bytes."""

    event_no: int
    incarnation: int
    type: str
    state: str
    digest: str


@dataclass(frozen=True)
class Letter:
    """A dead letter by where its record came from."""

    topic: str
    partition: int
    offset: int
    digest: str


@dataclass(frozen=True)
class Mark:
    """One line that `test.count` wrote outside: `event` is start or end, `at` seconds since 1970."""

    job_id: str
    attempt: int
    fence: int
    event: str
    at: float


@dataclass
class Facts:
    jobs: dict[str, Job] = field(default_factory=dict)
    lifecycle: dict[str, list[Step]] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    results: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """Attempt and value."""
    leases: set[str] = field(default_factory=set)
    ready: set[str] = field(default_factory=set)
    events: dict[str, list[Event]] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    seen: dict[str, tuple[str, int]] = field(default_factory=dict)
    """The monitor's state and event number of each job."""
    timeline: dict[str, list[Step]] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    """Rows in each schema's outbox."""
    lag: dict[str, int] = field(default_factory=dict)
    """Records not yet consumed, by `schema topic/partition`; negative = the offset lies beyond the end."""
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    """State and SHA-256."""
    blobs: dict[str, str] = field(default_factory=dict)
    """Name of each blob on the disk, with the SHA-256 of its bytes."""


JOBS = "SELECT job_id, tenant, state, event_no, attempt, failures, lost, spec, reason FROM executor.job"
LIFECYCLE = (
    "SELECT job_id, event_no, type, state, attempt FROM executor.lifecycle WHERE state IS NOT NULL ORDER BY 1, 2"
)
ATTEMPTS = (
    "SELECT job_id, attempt, fence, worker, verdict, started_at, finished_at FROM executor.attempt ORDER BY 1, 2, 3"
)
TIMELINE = "SELECT job_id, event_no, type, state, attempt FROM monitor.job_step ORDER BY job_id, incarnation, event_no"
CONSUMED = "SELECT topic, partition, next FROM {schema}.consumer_offset"
SCHEMAS = ("gateway", "executor", "files", "monitor")


async def gather(ground: Ground, *, marks: Path | None = None, blobs: Path | None = None) -> Facts:
    facts = Facts()
    connection = await asyncpg.connect(ground.postgres, timeout=10)
    try:
        await _from_executor(connection, facts)
        await _from_others(connection, facts)
        ends = await _from_topics(ground, facts)
        for schema in SCHEMAS:
            for row in await connection.fetch(CONSUMED.format(schema=schema)):
                end = ends.get((row["topic"], row["partition"]))
                if end is not None:
                    facts.lag[f"{schema} {row['topic']}/{row['partition']}"] = end - row["next"]
    finally:
        await connection.close()
    if marks is not None and marks.exists():
        facts.marks = [_mark(json.loads(line)) for line in marks.read_text().splitlines()]
    if blobs is not None:
        facts.blobs = await asyncio.to_thread(_hash_blobs, blobs)
    return facts


async def _from_executor(connection: asyncpg.Connection, facts: Facts) -> None:
    for row in await connection.fetch(JOBS):
        spec = json.loads(row["spec"])
        number = spec.get("metadata", {}).get("n")
        facts.jobs[row["job_id"]] = Job(
            row["job_id"], row["tenant"], row["state"], row["event_no"], row["attempt"], row["failures"], row["lost"],
            spec.get("retry", {}).get("max_attempts", 3), int(number) if number is not None else None, spec["tool"],
            row["reason"],
        )  # fmt: skip
    for row in await connection.fetch(LIFECYCLE):
        facts.lifecycle.setdefault(row[0], []).append(Step(*row[1:]))
    for row in await connection.fetch(ATTEMPTS):
        facts.attempts.setdefault(row[0], []).append(Attempt(*row[1:]))
    for row in await connection.fetch("SELECT job_id, attempt, value FROM executor.result"):
        facts.results[row[0]] = (row[1], json.loads(row[2]) if row[2] is not None else None)
    facts.leases = {row[0] for row in await connection.fetch("SELECT job_id FROM executor.lease")}
    facts.ready = {row[0] for row in await connection.fetch("SELECT job_id FROM executor.ready")}


async def _from_others(connection: asyncpg.Connection, facts: Facts) -> None:
    for row in await connection.fetch("SELECT job_id, state, event_no FROM monitor.job_state"):
        facts.seen[row[0]] = (row[1], row[2])
    for row in await connection.fetch(TIMELINE):
        facts.timeline.setdefault(row[0], []).append(Step(*row[1:]))
    for schema in SCHEMAS:
        facts.waiting[schema] = await connection.fetchval(f"SELECT count(*) FROM {schema}.outbox")
    for row in await connection.fetch("SELECT id, state, sha256 FROM files.file"):
        facts.files[row[0]] = (row[1], row[2] or "")


async def _from_topics(ground: Ground, facts: Facts) -> dict[tuple[str, int], int]:
    """Read events and dead letters from their beginnings; returns where each partition of ours ends."""
    events, commands = (topic_name(topic, prefix=ground.prefix) for topic in (JOBS_EVENTS, JOBS_COMMANDS))
    dead = topic_name(dlt(JOBS_COMMANDS), prefix=ground.prefix)
    ends = {}
    for record in await _all_of(ground.kafka, [events, dead, commands], ends=ends, skip=[commands]):
        headers = dict(record.headers)
        digest = _digest(record)
        if record.topic == events:
            body = json.loads(record.value)
            event = Event(
                body["event_no"], body["incarnation"], headers["ce_type"].decode(), body["job"]["state"], digest
            )
            facts.events.setdefault(body["job"]["id"], []).append(event)
        else:
            place = [headers[f"dlt-original-{name}"].decode() for name in ("topic", "partition", "offset")]
            facts.letters.append(Letter(place[0], int(place[1]), int(place[2]), digest))
    return ends


async def _all_of(
    bootstrap: str, names: Sequence[str], *, ends: dict[tuple[str, int], int], skip: Sequence[str]
) -> list[Any]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        found = [TopicPartition(name, number) for name in names for number in await _partitions(consumer, name)]
        tips = await consumer.end_offsets(found)
        ends.update({(tp.topic, tp.partition): end for tp, end in tips.items()})
        left = {tp for tp in found if tips[tp] > 0 and tp.topic not in skip}
        records = []
        consumer.assign(sorted(left))
        while left:
            for tp, batch in (await consumer.getmany(timeout_ms=500)).items():
                records += [record for record in batch if record.offset < tips[tp]]
            left = {tp for tp in left if await consumer.position(tp) < tips[tp]}
        return records
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, name: str) -> list[int]:
    await consumer._client._wait_on_metadata(name)
    return sorted(consumer.partitions_for_topic(name) or ())


def _digest(record: Any) -> str:
    digest = hashlib.sha256(record.key or b"")
    digest.update(record.value or b"")
    for name, value in record.headers:
        digest.update(name.encode() + b"\0" + (value or b""))
    return digest.hexdigest()


def _mark(told: dict[str, Any]) -> Mark:
    return Mark(told["job_id"], told["attempt"], told["fence"], told["event"], told["at"])


def _hash_blobs(root: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}
