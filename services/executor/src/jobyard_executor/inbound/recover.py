"""`python -m jobyard_executor recover [epoch|offsets]`: after a restore, or after Kafka lost records.

  recover                              show the epoch and what Kafka holds where we read
  recover epoch [--above N] [--without-kafka]
                                       after a restore of PostgreSQL: begin a new epoch
  recover offsets [--partition N] [--to OFFSET]
                                       after Kafka lost records: read the partitions that stopped again

See docs/reliability.md, "After a disaster".
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import asyncpg
from aiokafka.errors import KafkaError
from jobyard_common.contracts.topics import JOBS_COMMANDS
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.identity import identity_of
from jobyard_common.messaging.kafka import KafkaSettings

from jobyard_executor.handlers import recover
from jobyard_executor.outbound.log_look import log_look
from jobyard_executor.store import recovery

AWAY = (KafkaError, OSError, TimeoutError)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m jobyard_executor recover", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    what = parser.add_subparsers(dest="what")
    epoch = what.add_parser("epoch", help="begin a new epoch, above everything that was ever told to anybody")
    epoch.add_argument("--above", type=int, default=0, help="an epoch that is known to have been reached")
    epoch.add_argument("--without-kafka", action="store_true", help="do not ask Kafka how far the lost future got")
    offsets = what.add_parser("offsets", help="read partitions again that stopped because Kafka lost records")
    offsets.add_argument("--partition", type=int, action="append", help="only this one; stopped or not")
    offsets.add_argument("--to", type=int, help="where to begin; by default where the partition does")
    return parser.parse_args(argv)


def run(dsn: str, kafka: KafkaSettings, argv: Sequence[str]) -> int:
    """Returns the exit code: 1 if it could not be done, 3 if something needs a decision."""
    try:
        return asyncio.run(_run(dsn, kafka, parse(argv)))
    except (asyncpg.PostgresError, *AWAY) as error:
        print(f"recovery failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1


async def _run(dsn: str, kafka: KafkaSettings, options: argparse.Namespace) -> int:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        if options.what == "epoch":
            return await _epoch(connection, kafka, options)
        if options.what == "offsets":
            return await _offsets(connection, kafka, options)
        return await _show(connection, kafka)
    finally:
        await connection.close()


async def _epoch(connection: Connection, kafka: KafkaSettings, options: argparse.Namespace) -> int:
    above = options.above
    if not options.without_kafka:
        async with log_look(kafka) as log:
            above = max(above, await log.highest_epoch())
    now = await recover.raise_epoch(connection, above=above)
    print(f"epoch {now.epoch} begins (timeline {now.timeline}, {now.added} added); claims wait for the lease's TTL")
    return 0


async def _show(connection: Connection, kafka: KafkaSettings) -> int:
    now = await recovery.look(connection)
    print(f"epoch {now.epoch}: timeline {now.timeline}, {now.added} added")
    for epoch, since, cause in await recovery.history(connection):
        print(f"  epoch {epoch} since {since:%Y-%m-%d %H:%M:%S} UTC, {cause}")
    trouble = []
    if not now.at_home:
        trouble.append("This database was made in another cluster: run `recover epoch` before it is used.")
    if now.highest is not None and now.highest > now.epoch:
        trouble.append(f"Epoch {now.highest} was seen before: run `recover epoch` before it is used.")
    identity = await identity_of(kafka, JOBS_COMMANDS)
    topic = kafka.topic(JOBS_COMMANDS)
    print(f"{topic} is {identity}")
    async with log_look(kafka) as log:
        told = await log.highest_epoch()
        if told > now.epoch:
            trouble.append(f"Kafka was told of epoch {told}: run `recover epoch` before this database is used.")
        for stand in await recover.stands(connection, log, identity=identity, topic=topic):
            row = stand.row
            print(f"  partition {row.partition}: next {row.next}, Kafka has {stand.begin} to {stand.end}", end="")
            print(f"; {stand.trouble}" if stand.trouble else "")
            if stand.trouble:
                trouble.append(f"Partition {row.partition}: decide, then run `recover offsets`.")
    for line in trouble:
        print(line)
    return 3 if trouble else 0


async def _offsets(connection: Connection, kafka: KafkaSettings, options: argparse.Namespace) -> int:
    identity = await identity_of(kafka, JOBS_COMMANDS)
    topic = kafka.topic(JOBS_COMMANDS)
    async with log_look(kafka) as log:
        found = await recover.stands(connection, log, identity=identity, topic=topic)
        wanted = options.partition
        chosen = [row for row in found if (row.trouble if wanted is None else row.row.partition in wanted)]
        if not chosen:
            print("no partition stands where it should not")
            return 0
        moved = await recover.send_back(connection, log, chosen, identity=identity, topic=topic, to=options.to)
    for stand in chosen:
        number = stand.row.partition
        text = f"read again from {moved[number]}" if number in moved else "moved meanwhile, left alone"
        print(f"partition {number}: was at {stand.row.next}, {text}")
    return 0 if len(moved) == len(chosen) else 3
