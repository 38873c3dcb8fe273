"""Kafka loses acknowledged records and appends others, on a broker of this test's own; then the topic is made anew."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from jobyard_common.contracts.topics import JOBS_COMMANDS
from jobyard_common.messaging.consumer import ConsumerLoop
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.publisher import Publisher, Sent
from jobyard_common.messaging.topics import ensure_topics
from jobyard_common.telemetry.tracing import Tracer
from jobyard_common.testing.eventually import eventually
from jobyard_executor.inbound import recover

from tests.protocol.scratch import Scratch
from tests.protocol.yard import Executor, out_record, submit

PARTITIONS = {JOBS_COMMANDS.name: 1}


class Bench:
    """A broker that may lose records, and an executor that reads it all the time."""

    def __init__(self, scratch: Scratch, executor: Executor) -> None:
        self.scratch, self.executor = scratch, executor
        self.kafka = KafkaSettings(scratch.kafka.bootstrap, "test")
        self.loop = ConsumerLoop(
            self.kafka,
            topic=JOBS_COMMANDS,
            group="executor",
            instance_id="one",
            pool=executor.pool,
            apply=executor.ingest.apply,
            tracer=Tracer("test"),
        )

    async def send(self, count: int) -> list[str]:
        """Submits that Kafka acknowledges; returns their jobs."""
        publisher = Publisher(self.kafka)
        await publisher.start()
        await publisher.connected()
        try:
            made = [submit() for _ in range(count)]
            answers = await publisher.send_many([out_record(command) for command in made], timeout_s=30)
            assert all(isinstance(answer, Sent) for answer in answers), answers
            return [command.job_id for command in made]
        finally:
            await publisher.stop()

    async def until_known(self, job_ids: list[str]) -> None:
        async def known() -> bool:
            return set(job_ids) <= set(await self.executor.states())

        await eventually(known, what=f"{len(job_ids)} jobs", timeout_s=60)

    async def until_stopped(self) -> None:
        async def stopped() -> bool:
            return "Kafka lost some" in self.loop.check().detail

        await eventually(stopped, what="the stop of the partition", timeout_s=60)

    async def recover(self, *options: str) -> int:
        return await asyncio.to_thread(recover.run, self.executor.dsn, self.kafka, list(options))


@pytest.mark.timeout(300)
def test_records_behind_a_loss_are_not_skipped(database: Any, capsys: Any) -> None:
    dsn = database("executor")

    async def story() -> None:
        async with Scratch("kafka") as scratch:
            await ensure_topics(scratch.kafka.bootstrap, partitions=PARTITIONS)
            executor = Executor(dsn)
            await executor.open()
            bench = Bench(scratch, executor)
            await bench.loop.start()
            try:
                await the_end_is_lost(bench)
                await the_topic_is_made_anew(bench)
            finally:
                await bench.loop.drain()
                await bench.loop.stop()
                await executor.close()

    asyncio.run(story())
    shown = capsys.readouterr().out
    assert "partition.stopped" in shown and "topic.made_anew" in shown


async def the_end_is_lost(bench: Bench) -> None:
    """As many others are appended, so that no offset lies beyond the end."""
    first = await bench.send(3)
    await bench.until_known(first)
    kept = await bench.scratch.keep()
    lost = await bench.send(2)
    await bench.until_known(lost)
    await bench.scratch.put_back(kept)
    behind = await bench.send(4)
    await bench.until_stopped()
    assert not set(behind) & set(await bench.executor.states())
    assert await bench.recover() == 3, "it says that a decision is needed"
    assert await bench.recover("offsets") == 0
    await bench.until_known(first + lost + behind)
    assert len(await bench.executor.states()) == 9, "what was read twice is applied once"
    assert bench.loop.check().status == "ok"
    assert await bench.recover() == 0


async def the_topic_is_made_anew(bench: Bench) -> None:
    """Its offsets begin again; that is no loss that anybody could still heal."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.kafka.bootstrap)
    await admin.start()
    try:
        name = bench.kafka.topic(JOBS_COMMANDS)
        await admin.delete_topics([name])

        async def gone() -> bool:
            return name not in await admin.list_topics()

        await eventually(gone, what="the end of the topic", timeout_s=30)
        await admin.create_topics([NewTopic(name, 1, 1)])
    finally:
        await admin.close()
    await bench.until_known(await bench.send(2))
    assert bench.loop.check().status == "ok"
