"""Records that no executor can read, straight into the topic of commands, past every gateway."""

from __future__ import annotations

import asyncio
import random
import secrets

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from jobyard_common.contracts.topics import JOBS_COMMANDS, topic_name

from tests.chaos.journal import Journal
from tests.chaos.stage import Stage

VALUES = (b"\xff\xfenot json", b'{"job_id": "job_x"}', b"null", b'{"a": "\\u0000"}', b"", None)
HEADERS = [("ce_type", b"jobyard.job.submit.v1")]


async def poison(stage: Stage, journal: Journal, *, seed: int, every_s: float) -> None:
    """Until cancelled; only what Kafka acknowledged is written down."""
    dice = random.Random(f"poison {seed}")
    name = topic_name(JOBS_COMMANDS, prefix=stage.ground.prefix)
    while True:
        await asyncio.sleep(dice.expovariate(1 / every_s))
        producer = AIOKafkaProducer(bootstrap_servers=stage.ground.kafka, acks="all", request_timeout_ms=4000)
        try:
            async with asyncio.timeout(8):
                await producer.start()
                sent = await producer.send_and_wait(
                    name, dice.choice(VALUES), key=secrets.token_bytes(4), headers=HEADERS
                )
        except (KafkaError, OSError, TimeoutError):
            continue
        finally:
            await asyncio.wait([asyncio.ensure_future(producer.stop())], timeout=2)
        await journal.write(do="poisoned", partition=sent.partition, offset=sent.offset)
