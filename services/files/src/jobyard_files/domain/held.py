"""What becomes of an attempt's outputs while nobody has told us that its end was recorded."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """The executor's word on an attempt. `RUNNING` and `UNKNOWN` are no reason to delete anything."""

    COMMITTED = "committed"
    DISCARDED = "discarded"
    RUNNING = "running"
    UNKNOWN = "unknown"


class Fate(StrEnum):
    KEEP = "keep"
    RELEASE = "release"
    EXPIRE = "expire"


def fate_of(verdict: Verdict) -> Fate:
    """Bytes go on the executor's word alone, never for its silence."""
    if verdict is Verdict.COMMITTED:
        return Fate.RELEASE
    return Fate.EXPIRE if verdict is Verdict.DISCARDED else Fate.KEEP
