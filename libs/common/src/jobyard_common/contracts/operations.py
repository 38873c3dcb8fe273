"""The words of bulk operations and dead letters that gateway and executor share."""

from __future__ import annotations

from enum import StrEnum


class BulkAction(StrEnum):
    """What a bulk operation does to each job; `discard` is for dead ones."""

    CANCEL = "cancel"
    RETRY = "retry"
    REPLAY = "replay"
    RESCHEDULE = "reschedule"
    DISCARD = "discard"


class BulkState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    ABORTED = "aborted"


class LetterState(StrEnum):
    """Of a dead letter: nobody has done anything about it yet, it runs again, or it was given up."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"
