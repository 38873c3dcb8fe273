"""Which way a later command of a job takes, so that a job's commands stay in the order of their acknowledgements."""

from __future__ import annotations

from enum import StrEnum


class Way(StrEnum):
    PUBLISH = "publish"
    SPOOL = "spool"
    REFUSE = "refuse"


def way_of_later(waits: bool | None, *, needs_order: bool) -> Way:
    """`waits`: whether a command of this job is in the spool; None if nobody could tell.

    An unordered one (a cancel) may then be published: it is kept for a submit that comes later.
    """
    if waits is None:
        return Way.REFUSE if needs_order else Way.PUBLISH
    return Way.SPOOL if waits else Way.PUBLISH
