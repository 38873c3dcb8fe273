"""Priority with ageing, as a number that never has to be updated.

A job of priority p stands in the queue as if it had been queued `weight(p)` earlier. Waiting therefore makes every
job more urgent at the same pace, and the order of any two jobs is fixed once both are queued.
"""

from __future__ import annotations

from datetime import datetime, timedelta

STEP = timedelta(minutes=5)


def weight(priority: int) -> timedelta:
    """How much earlier than it was queued a job of this priority (1–10, 10 most urgent) counts as queued."""
    return STEP * (priority - 1)


def sort_at(queued_at: datetime, *, priority: int) -> datetime:
    return queued_at - weight(priority)
