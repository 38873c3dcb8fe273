"""Priority with ageing, as a number that never has to be updated.

A job of priority p stands in the queue as if it had been queued `weight(p)` earlier. Waiting therefore makes every
job more urgent at the same pace, and the order of any two jobs is fixed once both are queued: a job of priority 1 is
never overtaken by one of priority 10 that came more than `9 * STEP` (45 minutes) after it.

The last digit of the microseconds holds the priority, so that the time of queueing can be told from the number.
"""

from __future__ import annotations

from datetime import datetime, timedelta

STEP = timedelta(minutes=5)
_ONE = timedelta(microseconds=1)


def weight(priority: int) -> timedelta:
    """How much earlier than it was queued a job of this priority (1–10, 10 most urgent) counts as queued."""
    return STEP * (priority - 1)


def sort_at(queued_at: datetime, *, priority: int) -> datetime:
    earlier = queued_at - weight(priority)
    return earlier.replace(microsecond=earlier.microsecond // 10 * 10 + priority - 1)


def queued_at(sort_at: datetime) -> datetime:
    """When the job that stands here was queued, to 10 µs."""
    step = sort_at.microsecond % 10
    return sort_at - step * _ONE + step * STEP
