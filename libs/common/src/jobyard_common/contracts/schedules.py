"""The words of schedules that gateway and executor share."""

from __future__ import annotations

from enum import StrEnum


class Overlap(StrEnum):
    """What a fire does while a job of the schedule has not ended."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE = "queue"
    REPLACE = "replace"


class CatchUp(StrEnum):
    """Which of the fires that were missed, because nothing ran, are made good."""

    NONE = "none"
    LAST = "last"
    ALL = "all"
