"""Creating topics. Existing ones are left as they are: changing partitions would break the order of keys."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from jobyard_common.contracts import topics
from jobyard_common.messaging.kafka import MAX_REQUEST_BYTES

DAY_MS = 24 * 3600 * 1000
LISTED_WITHIN_S = 15.0


def wanted(*, prefix: str, replication: int, partitions: Mapping[str, int]) -> list[NewTopic]:
    """Every topic and its dead letters; `partitions` overrides the count of a topic by its unprefixed name."""
    found = []
    for topic in topics.ALL:
        found.append((topic.name, partitions.get(topic.name, topic.partitions), topic.retention))
        dead = topics.dlt(topic)
        found.append((dead, partitions.get(dead, topics.DLT_PARTITIONS), topics.DLT_RETENTION))
    return [
        NewTopic(
            topics.topic_name(name, prefix=prefix),
            num_partitions=count,
            replication_factor=replication,
            topic_configs=_config(int(kept.total_seconds() * 1000) if kept else None),
        )
        for name, count, kept in found
    ]


def _config(retention_ms: int | None) -> dict[str, str]:
    common = {"max.message.bytes": str(MAX_REQUEST_BYTES + 64 * 1024)}
    if retention_ms is None:
        return {**common, "cleanup.policy": "compact", "segment.ms": str(DAY_MS)}
    return {**common, "retention.ms": str(retention_ms), "segment.ms": str(DAY_MS)}


async def ensure_topics(
    bootstrap: str, *, prefix: str = "", replication: int = 1, partitions: Mapping[str, int] | None = None
) -> list[str]:
    """Create the topics that are missing; returns their names."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="jobyard-topics", request_timeout_ms=30_000)
    try:
        await admin.start()
        known = set(await admin.list_topics())
        missing = [
            row
            for row in wanted(prefix=prefix, replication=replication, partitions=partitions or {})
            if row.name not in known
        ]
        if missing:
            answer = await admin.create_topics(missing, timeout_ms=20_000)
            for name, code, *message in answer.topic_errors:
                if code not in (0, 36):
                    raise TopicRefused(f"{name}: error {code} {message}")
            await _until_listed(admin, {row.name for row in missing})
        return [row.name for row in missing]
    finally:
        await admin.close()


async def _until_listed(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """The controller answers before every broker has heard of a topic; nobody shall find it missing."""
    deadline = time.monotonic() + LISTED_WITHIN_S
    while absent := names - set(await admin.list_topics()):
        if time.monotonic() > deadline:
            raise TopicRefused(f"{min(absent)}: created, but no broker lists it")
        await asyncio.sleep(0.05)


class TopicRefused(Exception):
    """The broker would not create a topic; the text has its name and the broker's error."""


def main() -> int:
    """`python -m jobyard_common.messaging.topics BOOTSTRAP [PREFIX] [REPLICATION]`."""
    if not 2 <= len(sys.argv) <= 4:
        print(main.__doc__, file=sys.stderr)
        return 2
    prefix = sys.argv[2] if len(sys.argv) > 2 else ""
    replication = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    try:
        created = asyncio.run(ensure_topics(sys.argv[1], prefix=prefix, replication=replication))
    except (KafkaError, OSError, TopicRefused) as error:
        print(f"topics were not created: {error}", file=sys.stderr)
        return 1
    print(f"{len(created)} topics created" if created else "all topics exist")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
