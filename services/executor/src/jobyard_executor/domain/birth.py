"""How a submitted job is born, and when a submit that comes again contradicts the first."""

from __future__ import annotations

from enum import StrEnum


class Born(StrEnum):
    """The first state of a job, and why."""

    CANCELLED = "cancelled"
    TOOL_RETIRED = "tool_retired"
    SUPERSEDED = "superseded"
    PARENT_FAILED = "parent_failed"
    EXPIRED = "expired"
    BLOCKED = "blocked"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    CACHED = "cached"


def born(
    *,
    tombstone: bool,
    tool_known: bool,
    superseded: bool,
    parent_failed: bool,
    past_deadline: bool,
    parents_pending: bool,
    early: bool,
    cached: bool = False,
) -> Born:
    """The first of these that applies. A cancel that overtook its submit comes before everything.

    `cached` says that an earlier job's result answers; only a job that would run at once takes it.
    """
    if tombstone:
        return Born.CANCELLED
    if not tool_known:
        return Born.TOOL_RETIRED
    if superseded:
        return Born.SUPERSEDED
    if parent_failed:
        return Born.PARENT_FAILED
    if past_deadline:
        return Born.EXPIRED
    if parents_pending:
        return Born.BLOCKED
    if early:
        return Born.SCHEDULED
    return Born.CACHED if cached else Born.QUEUED


def leaves_tombstone(*, cancel: bool, exists: bool) -> bool:
    """A cancel of a job that nobody knows is kept: its submit may be on the way."""
    return cancel and not exists


def contradicts(known_hash: str | None, body_hash: str) -> bool:
    """Whether a keyed submit asks for something else than the first of its key; a forgotten first one binds nobody."""
    return known_hash is not None and known_hash != body_hash
