"""From Kafka to the read models and back to zero: duplicates, rubbish, rebuild, spans."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.outbox import Relay
from jobyard_common.messaging.publisher import OutRecord, Publisher, Sent
from jobyard_common.telemetry.context import parse
from jobyard_common.telemetry.tracing import Kind, Tracer, send_span
from jobyard_common.testing.eventually import eventually
from jobyard_monitor.handlers.rebuild import KNOWN, rebuild
from jobyard_monitor.inbound.consumers import consumers
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

FIRST = 10**9
REMOVED = (
    "messaging.operation",
    "messaging.kafka.consumer.group",
    "messaging.kafka.message.offset",
    "messaging.kafka.destination.partition",
    "messaging.destination_publish.name",
)
TABLES = (
    "job_step ORDER BY job_id, incarnation, event_no",
    "job_state ORDER BY job_id",
    "file_timeline ORDER BY file_id, event_no",
    "job_progress ORDER BY job_id",
    "audit ORDER BY id",
)


class Monitor:
    """The consuming half of the service, with the test's broker."""

    def __init__(self, bench: Any, servers: Any, prefix: str) -> None:
        self.bench = bench
        self.kafka = KafkaSettings(servers.kafka, "test", prefix)
        self.spans = InMemorySpanExporter()
        self.tracer = Tracer("monitor", exporter=self.spans)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Monitor:
        await self._stack.enter_async_context(self.bench)
        self.publisher = Publisher(self.kafka)
        relay = Relay(self.bench.pool, self.publisher, tracer=self.tracer, lock_name="test")
        self.loops = consumers(
            self.kafka, pool=self.bench.pool, tracer=self.tracer, instance_id="m", wake_relay=relay.wake
        )
        for component in (self.publisher, relay, *self.loops):
            await component.start()
            self._stack.push_async_callback(component.stop)
        await self.publisher.connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        for loop in self.loops:
            await loop.drain()
        await self._stack.aclose()
        self.tracer.shutdown()

    async def send(self, *records: Any) -> None:
        made = [(row, *send_span(self.tracer, row.topic, row.key, row.headers)) for row in records]
        rows = [OutRecord(row.topic, row.key.decode(), row.value, headers) for row, headers, _ in made]
        assert all(isinstance(answer, Sent) for answer in await self.publisher.send_many(rows))
        for _, _, span in made:
            if span is not None:
                span.end()

    async def settled(self, topic: str, *, passed: int) -> None:
        async def reached() -> bool:
            query = "SELECT sum(next) FROM consumer_offset WHERE topic = $1"
            return ((await self.bench.rows(query, self.kafka.topic(topic)))[0][0] or 0) >= passed

        await eventually(reached, what=f"{passed} records of {topic}", timeout_s=30)

    async def snapshot(self) -> dict[str, Any]:
        return {table: await self.bench.rows(f"SELECT * FROM {table}") for table in TABLES}

    async def dead_letters(self, topic: str, count: int) -> list[Any]:
        name = self.kafka.topic(f"{topic}.dlt")
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap)
        await consumer.start()
        try:
            consumer.assign([TopicPartition(name, 0)])
            await consumer.seek_to_beginning()
            found: list[Any] = []
            while len(found) < count:
                rows = await asyncio.wait_for(consumer.getone(), 15)
                found.append(rows)
            return found
        finally:
            await consumer.stop()


def test_live_equals_rebuilt(bench: Any, records: Any, servers: Any, topic_prefix: str) -> None:
    async def go() -> None:
        dice = random.Random(3)
        jobs = [records.job_id() for _ in range(40)]
        events = [event for job in jobs for event in records.life(job)]
        events += dice.sample(events, 25)
        packs = [
            records.pack(job, *(records.line(FIRST + n, stream=stream) for n, stream in enumerate(("stdout", "log"))))
            for job in jobs
        ]
        progress = [records.pack(job, records.line(FIRST + 9, stream="progress", fields={"done": 1})) for job in jobs]
        others = [records.file(f"file_{n}", 1, "created", seconds=n, job_id=jobs[n]) for n in range(10)]
        audits = [records.audit(f"aud_{n}", n) for n in range(10)] * 2
        async with Monitor(bench, servers, topic_prefix) as monitor:
            sent = [*events, *packs, *progress, *others, *audits]
            for start in range(0, len(sent), 50):
                await monitor.send(*sent[start : start + 50])
            counts = {"jobs.events": 145, "jobs.output": 80, "files.events": 10, "audit": 20}
            for topic, count in counts.items():
                await monitor.settled(topic, passed=count)
            live = await monitor.snapshot()
            lines = await bench.rows("SELECT job_id, seq, message FROM job_log ORDER BY job_id, seq")
            assert [len(rows) for rows in live.values()] == [120, 40, 10, 40, 10]
            async with bench.pool.acquire() as connection:
                await rebuild(connection, names=KNOWN, on_broker=monitor.kafka.topic)
            for topic, count in counts.items():
                await monitor.settled(topic, passed=count)
            assert await monitor.snapshot() == live
            assert await bench.rows("SELECT job_id, seq, message FROM job_log ORDER BY job_id, seq") == lines

    asyncio.run(go())


def test_rubbish_goes_to_the_dead_letters_and_the_rest_goes_on(
    bench: Any, records: Any, servers: Any, topic_prefix: str
) -> None:
    async def go() -> None:
        job = records.job_id()
        nameless = records.event(job, 1, "queued")
        nameless.headers = []
        unreadable = records.event(job, 1, "queued")
        unreadable.value = b"\xff not json"
        # what only the database refuses: NUL in a member that no rule of ours looks at
        unstorable = records.event(job, 9, "queued", reason="a\x00b")
        rubbish = [nameless, unreadable, unstorable]
        async with Monitor(bench, servers, topic_prefix) as monitor:
            await monitor.send(*records.life(job)[:1], *rubbish, *records.life(job)[1:])
            await monitor.settled("jobs.events", passed=6)
            found = await monitor.dead_letters("jobs.events", 3)
            assert await bench.rows("SELECT state FROM job_state") == [("succeeded",)]
        told = {dict(row.headers)["dlt-reason"]: row for row in found}
        assert sorted(told) == [b"deserialization", b"envelope", b"unstorable"]
        for reason, record in zip((b"envelope", b"deserialization", b"unstorable"), rubbish, strict=True):
            assert (told[reason].key, told[reason].value) == (record.key, record.value)
            assert dict(told[reason].headers)["dlt-original-topic"] == b"jobs.events"

    asyncio.run(go())


def test_a_sampled_event_has_a_span_under_its_send_and_others_have_none(
    bench: Any, records: Any, servers: Any, topic_prefix: str
) -> None:
    async def go() -> None:
        async with Monitor(bench, servers, topic_prefix) as monitor:
            root = monitor.tracer.span("run test.noop")
            job = records.job_id()
            events = [
                records.event(job, n, verb, traceparent=root.context.format())
                for n, verb in enumerate(("queued", "started", "succeeded"), 1)
            ]
            await monitor.send(*events, *records.life(records.job_id()))
            root.end()
            await monitor.settled("jobs.events", passed=6)
        found = monitor.spans.get_finished_spans()
        sends = {span.context.span_id for span in found if span.name == "send jobs.events"}
        taken = [span for span in found if span.name == "process jobs.events"]
        assert len(taken) == 3
        for span in taken:
            assert span.kind is Kind.CONSUMER.value
            assert span.context.trace_id == int(root.context.trace_id, 16)
            assert span.parent is not None
            assert span.parent.span_id in sends
            assert [link.context.span_id for link in span.links] == [span.parent.span_id]
            attributes = dict(span.attributes or {})
            assert attributes["messaging.system"] == "kafka"
            assert attributes["messaging.operation.type"] == "process"
            assert attributes["messaging.destination.name"] == "jobs.events"
            assert attributes["messaging.kafka.message.key"] == job
            assert attributes["messaging.message.conversation_id"] == "corr-1"
            assert str(attributes["messaging.consumer.group.name"]).endswith("monitor.jobs.events")
            assert [name for name in REMOVED if name in attributes] == []
        parents = {span.parent.span_id for span in taken if span.parent}
        assert len(parents) == 3
        assert parse(root.context.format()) == root.context

    asyncio.run(go())
