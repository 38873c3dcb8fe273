"""A record of a dead-letter topic: where it came from, why it is there, and the record that a replay makes of it.

A replay keeps key and headers and counts itself in `jobyard-replayed`. A consumer that refuses the record again keeps
that header, so a loop shows.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from jobyard_common.contracts.envelope import Headers
from jobyard_common.contracts.topics import ALL, dlt
from jobyard_common.messaging.inbound import Inbound
from jobyard_common.messaging.publisher import OutRecord

ORIGINAL = {dlt(topic): topic.name for topic in ALL}
"""The topic of a dead-letter topic; what a record's headers say of it proves nothing."""
REPLAYED = "jobyard-replayed"
REPLAYED_BY = "jobyard-replayed-by"
STALE = timedelta(days=10)
"""Ids of commands are remembered this long; an older record may be applied a second time."""


class Place(msgspec.Struct, frozen=True):
    """Written `topic:partition:offset`, the id of the record in the API."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


def place_of(text: str) -> Place | None:
    """None for what is no id of a dead letter."""
    topic, _, rest = text.partition(":")
    partition, _, offset = rest.partition(":")
    numbers = (partition, offset)
    if topic not in ORIGINAL or not all(one.isascii() and one.isdigit() and len(one) < 19 for one in numbers):
        return None
    return Place(topic, int(partition), int(offset))


def replays(record: Inbound) -> int:
    text = record.header(REPLAYED)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def is_stale(record: Inbound, *, now: datetime) -> bool:
    """Whether what keeps a record from being applied twice may have been forgotten; unknown age is old age."""
    text = record.header("dlt-original-timestamp")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        return True
    return now.timestamp() - int(text) / 1000 > STALE.total_seconds()


def replay_of(record: Inbound, *, value: bytes | None, by: str) -> OutRecord:
    """The record for the original topic."""
    own = (REPLAYED, REPLAYED_BY)
    kept: Headers = [
        (name, text or b"") for name, text in record.headers if not name.startswith("dlt-") and name not in own
    ]
    marks: Headers = [(REPLAYED, str(replays(record) + 1).encode()), (REPLAYED_BY, by.encode())]
    return OutRecord(ORIGINAL[record.topic], record.key, value, kept + marks)
