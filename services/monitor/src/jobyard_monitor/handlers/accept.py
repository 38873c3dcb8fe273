"""Reading a record of ours: its envelope, whether its type concerns us, its data; or a refusal with a reason.

A type of ours that is not known yet is passed over, because a newer service may speak of more than we know.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, TypeVar

from jobyard_common.contracts.envelope import JSON, EnvelopeInvalid
from jobyard_common.contracts.wire import WireError, decode, parse_rfc3339
from jobyard_common.messaging.inbound import Inbound, Refused

from jobyard_monitor.domain.moments import recordable

T = TypeVar("T")
OURS = "jobyard."
WRITTEN = (
    *("content-type", "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_correlationid"),
    "traceparent",
)
"""The headers of an envelope, in the order in which `contracts.envelope.encode` puts them."""


class NotForUs(Exception):
    """A record to pass over without a trace."""


class Unacceptable(Exception):
    """A record that no retry will make readable. `reason` is a constant, the text says what is wrong."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def refusal(self, record: Inbound) -> Refused:
        return Refused(record, self.reason, str(self))


class Head(NamedTuple):
    """What an envelope tells a read model."""

    type: str
    time: datetime


def head_of(record: Inbound, *, known: Collection[str]) -> Head:
    """Raises NotForUs or Unacceptable."""
    try:
        found = _quick_head(record) or _head(record)
    except EnvelopeInvalid as error:
        raise Unacceptable("envelope", str(error)) from None
    if found.type not in known:
        if found.type.startswith(OURS):
            raise NotForUs
        raise Unacceptable("unknown_type", f"ce_type {found.type[:128]!r} is not one of {OURS}*")
    plausible(found.time)
    return found


def _quick_head(record: Inbound) -> Head | None:
    """From headers that stand as our own services write them; None for any others, which are read one by one."""
    try:
        (a, json), (b, version), (c, ce_id), (d, source), (e, kind), (f, _), (g, time), (h, _), (i, _) = record.headers
    except ValueError:
        return None
    if (a, b, c, d, e, f, g, h, i) != WRITTEN or json != JSON or version != b"1.0":
        return None
    if not (ce_id and source and kind and time):
        return None
    try:
        return _written(kind, time)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _written(kind: bytes, time: bytes) -> Head:
    """Times have milliseconds, so many records of a batch share theirs."""
    return Head(kind.decode(), parse_rfc3339(time.decode()))


def _head(record: Inbound) -> Head:
    found = record.envelope()
    return Head(found.type, found.time)


def data_of(record: Inbound, shape: type[T]) -> T:
    """Raises Unacceptable."""
    if record.value is None:
        raise Unacceptable("deserialization", "the record has no value")
    try:
        return decode(shape, record.value)
    except WireError as error:
        raise Unacceptable("deserialization", str(error)) from None


def plausible(moment: datetime) -> None:
    """Raises Unacceptable for a time that no clock of ours can have shown."""
    if not recordable(moment):
        raise Unacceptable("validation", f"{moment.isoformat()} is not a time of this age")
