"""Whose attempt it is: guards of every write of a worker, and what a worker must do when it learns what it holds.

An attempt is its (job, fence, session). A job's row names the attempt that is current; whoever comes with another one
is late, and nothing of it is recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from jobyard_executor.domain.job import ACTIVE, Job

Key = tuple[str, int]


def owns(job: Job, *, fence: int | None, session: str | None) -> bool:
    """Whether an attempt may still record something; None asks for any fence, or any session."""
    return job.state in ACTIVE and (fence is None or job.fence == fence) and (session is None or job.session == session)


class Lease(Protocol):
    """A lease of our session as the database has it. `old`: claimed longer ago than a claim may take."""

    @property
    def job_id(self) -> str: ...
    @property
    def fence(self) -> int: ...
    @property
    def old(self) -> bool: ...
    @property
    def cancelling(self) -> bool: ...


@dataclass(frozen=True)
class Agreement:
    """What makes a worker and the database agree.

    `kill`: ours no more. `cancel`: to be stopped. `hand_back`: leases behind which nothing runs. `missing`: seemed
    so for the first time; the next beat decides.
    """

    kill: frozenset[Key]
    cancel: frozenset[Key]
    hand_back: frozenset[Key]
    missing: frozenset[Key]


def reconcile(
    leases: Iterable[Lease],
    *,
    ours: Collection[Key],
    held: Collection[Key],
    settled: Collection[Key],
    running: Collection[Key],
    missing: Collection[Key],
) -> Agreement:
    """Compare the leases of a session with its worker.

    `ours` is what must have a lease, from before the leases were read; `held` what is claimed and not stored now;
    `settled` what of it has an outcome, stored or about to be; `running` what the runner says; `missing` is that of
    the last agreement.
    """
    rows = [((row.job_id, row.fence), row) for row in leases]
    held_now, settled_now = set(held), set(settled)
    theirs = {key for key, _ in rows}
    silent = held_now - set(running) - settled_now
    lost = silent & set(missing)
    unclaimed = {key for key, row in rows if row.old} - held_now
    return Agreement(
        kill=frozenset((set(ours) - theirs) & held_now - settled_now),
        cancel=frozenset(key for key, row in rows if row.cancelling and key in held_now),
        hand_back=frozenset(lost | unclaimed),
        missing=frozenset(silent - lost),
    )
