"""Records packed by hand: what a batch shares is packed once.

A record of ours has nine headers, and most of them are the same in the whole of a batch. A client packs them anew for
each record, which costs more than everything else that is done for it. Here a record is the join of a few pieces, and
a batch of them is what Kafka calls a record batch of magic 2 (KIP-98), not compressed, all records with one time.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence

from aiokafka.record.util import calc_crc32c

from jobyard_common.contracts.envelope import Headers, encode, new_envelope

_HEAD = struct.Struct(">qiibI")
_REST = struct.Struct(">hiqqqhii")
_AFTER_LENGTH = _HEAD.size - 12 + _REST.size
_NO_EPOCH, _MAGIC = -1, 2
BATCH_BYTES = _HEAD.size + _REST.size
RECORD_BYTES = 16
"""At most what a batch adds to each record: its length, attributes, time and offset."""


def varint(number: int) -> bytes:
    """A length as Kafka writes it: zigzag, seven bits a byte, the lowest first."""
    return _SMALL[number] if number < _TABLE else _varint(number)


def _varint(number: int) -> bytes:
    left, found = number << 1, bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)


_TABLE = 4096
_SMALL = [_varint(number) for number in range(_TABLE)]


def packed_headers(headers: Headers) -> bytes:
    parts = [varint(len(headers))]
    for name, value in headers:
        text = name.encode()
        parts += (varint(len(text)), text, varint(len(value)), value)
    return b"".join(parts)


class PackedEnvelopes:
    """The packed headers of envelopes of one type and one source."""

    def __init__(self, kind: str, source: str) -> None:
        sample = encode(new_envelope(kind, source=source, subject="", correlation_id="", traceparent=""))
        parts, holes = [varint(len(sample))], []
        for name, value in sample:
            parts[-1] += varint(len(name)) + name.encode()
            if name in ("ce_id", "ce_subject", "ce_time", "ce_correlationid", "traceparent"):
                holes.append(name)
                parts.append(b"")
            else:
                parts[-1] += varint(len(value)) + value
        assert holes == ["ce_id", "ce_subject", "ce_time", "ce_correlationid", "traceparent"] and not parts[-1]
        self._parts = parts[:5]

    def pack(self, *, id: str, subject: str, time: str, correlation_id: str, traceparent: str) -> bytes:
        """`time` as RFC 3339 writes it."""
        small = _SMALL
        before, identified, named, timed, correlated = self._parts
        one, two, three, four, five = (
            id.encode(), subject.encode(), time.encode(), correlation_id.encode(), traceparent.encode()
        )  # fmt: skip
        return b"".join((
            before, small[len(one)], one, identified, small[len(two)], two, named, small[len(three)], three,
            timed, varint(len(four)), four, correlated, small[len(five)], five,
        ))  # fmt: skip


def packed_record(key: bytes, value: bytes, headers: bytes) -> bytes:
    """A record but for its place in a batch; `headers` are packed."""
    return b"".join((varint(len(key)), key, varint(len(value)), value, headers))


class PackedBatch:
    """Stands in for aiokafka's BatchBuilder: closed from the beginning, so the producer adds nothing to it."""

    def __init__(self, records: Sequence[bytes]) -> None:
        self._records: Sequence[bytes] = records
        self._count = len(records)
        self._at_ms = time.time_ns() // 1_000_000
        self._producer = (-1, -1, 0)
        self._buffer: bytes | None = None

    def append(self, **_: object) -> None:
        """Nothing fits in any more."""

    def close(self) -> None:
        """It is."""

    def closed(self) -> bool:
        return True

    def record_count(self) -> int:
        return self._count

    def size(self) -> int:
        return len(self._build())

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytes:
        if self._buffer is None:
            self._buffer = self._built()
            self._records = ()
        return self._buffer

    def _built(self) -> bytes:
        parts: list[bytes] = []
        for number, record in enumerate(self._records):
            offset = varint(number)
            parts += (varint(2 + len(offset) + len(record)), b"\0\0", offset, record)
        body = b"".join(parts)
        rest = _REST.pack(0, self._count - 1, self._at_ms, self._at_ms, *self._producer, self._count) + body
        return _HEAD.pack(0, len(body) + _AFTER_LENGTH, _NO_EPOCH, _MAGIC, calc_crc32c(rest)) + rest
