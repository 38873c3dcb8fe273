"""What the model asks whenever something has to be decided. A mutant is a copy with one answer changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from jobyard_common.contracts.jobs import JobState
from jobyard_common.messaging import relaying
from jobyard_common.messaging import resume as resuming
from jobyard_executor.domain import barrier, birth, epoch, job, ownership, session
from jobyard_files.domain import held
from jobyard_files.domain.file import FileState
from jobyard_gateway.domain import keeping, telling

Answer = Callable[..., Any]

TERMS = session.LeaseTerms(
    beat=timedelta(seconds=2), trust=timedelta(seconds=5), ttl=timedelta(seconds=8), claim_timeout=timedelta(seconds=2)
)
TTL = TERMS.ttl.total_seconds()
LOG_KEPT = 60.0
"""How long Kafka keeps a record, and how old a late copy of one can be. Seconds of the model."""
IDS_KEPT = 90.0
LIVE, DELETING = "live", "deleting"
NAMING = (FileState.HELD, FileState.READY)
"""Files that keep their content: `blobs.UNUSED`."""


# -- twins of what the product asks PostgreSQL (see test_conformance.py)


Place = tuple[int, bytes | None]


def moves(stored: Place, held: Place) -> bool:
    """`offsets.MOVE`: the compare-and-set of a consumer's offset and of the record before it."""
    return stored == held


def extends(worker: Any, *, db_now: float) -> bool:
    """`sessions.BEAT`: a beat extends a session that is neither reaped nor expired."""
    return not worker.reaped and bool(worker.expires_at > db_now)


def claims(worker: Any, *, db_now: float) -> bool:
    """`claiming.ALIVE`: the first statement of a claim."""
    return not worker.reaped and bool(worker.expires_at > db_now)


def expired(worker: Any, *, db_now: float) -> bool:
    """`sessions.SESSIONS`: what a reaper sees."""
    return bool(worker.expires_at < db_now)


def seizes(worker: Any, *, beat: int) -> bool:
    """`sessions.SEIZE`: a session ends only if its beat has not moved since it was looked at."""
    return not worker.reaped and bool(worker.beat == beat)


def orphaned(claimed_at: float, worker: Any | None, *, db_now: float) -> bool:
    """`sessions.ORPHANS`: a lease of no living session, older than the TTL."""
    return (worker is None or worker.reaped) and claimed_at < db_now - TTL


def is_seen(command_id: str, seen: set[str]) -> bool:
    """`commands.SEEN`."""
    return command_id in seen


def room(limit: int, leases: int, _counter: int) -> int:
    """`claiming.room`: live leases are counted, never a counter."""
    return max(0, limit - leases)


def newer(event: tuple[int, int], stored: tuple[int, int] | None) -> bool:
    """The upsert of every projection: the newest (incarnation, event_no) wins."""
    return stored is None or event > stored


def found_rows(visible: list[int], begins: int, limit: int) -> list[int]:
    """`outbox.TAKE_ALL`: the oldest rows that are committed."""
    return [number for number in sorted(visible) if number >= begins][:limit]


def missing_offset(_end: int) -> int:
    """`offsets.ENSURE`: a partition that was never read begins at its beginning."""
    return 0


def visible(owner: str, caller: str) -> bool:
    """`reading.ONE` and `Ledger.certain_view`: rows of one tenant."""
    return owner == caller


def verdict_of(db: Any, key: tuple[str, int]) -> held.Verdict:
    """`inbound/http.py: committed` of the executor."""
    found = db.jobs.get(key[0])
    if found is None or found.fence != key[1]:
        return held.Verdict.DISCARDED
    if found.state in job.ACTIVE:
        return held.Verdict.RUNNING
    return held.Verdict.COMMITTED if found.state is JobState.SUCCEEDED else held.Verdict.DISCARDED


def adopts(state: str) -> bool:
    """`blobs.ADOPT`: what is leaving is not named again."""
    return state == LIVE


def fingerprint(nonce: int, _command_id: str) -> bytes:
    """`Inbound.fingerprint`: of this append, not of the command in it."""
    return b"%d" % nonce


@dataclass(frozen=True)
class Rules:
    # executor: domain/job.py, ownership.py, birth.py, session.py, epoch.py
    next_state: Answer = job.next_state
    owns: Answer = ownership.owns
    reconcile: Answer = ownership.reconcile
    born: Answer = birth.born
    leaves_tombstone: Answer = birth.leaves_tombstone
    contradicts: Answer = birth.contradicts
    trusted_until: Answer = TERMS.trusted_until
    may_start: Answer = session.may_start
    watch: Answer = session.Watch
    fence_of: Answer = epoch.fence_of
    incarnation_of: Answer = epoch.incarnation_of
    look_epoch: Answer = epoch.look
    hold_left: Answer = epoch.hold_left
    next_added: Answer = epoch.next_added
    # bus: messaging/resume.py, relaying.py
    resume: Answer = resuming.resume
    look: Answer = resuming.look
    goes_on: Answer = resuming.goes_on
    numbers: Answer = relaying.Numbers
    keeps: Answer = relaying.keeps
    sort_answers: Answer = relaying.sort_answers
    # gateway: domain/keeping.py
    way_of_later: Answer = keeping.way_of_later
    # asking and filing: domain/telling.py, barrier.py, held.py
    tell: Answer = telling.tell
    has_passed: Answer = barrier.has_passed
    fate_of: Answer = held.fate_of
    # twins
    moves: Answer = moves
    extends: Answer = extends
    claims: Answer = claims
    expired: Answer = expired
    seizes: Answer = seizes
    orphaned: Answer = orphaned
    is_seen: Answer = is_seen
    room: Answer = room
    newer: Answer = newer
    found_rows: Answer = found_rows
    missing_offset: Answer = missing_offset
    fingerprint: Answer = fingerprint
    visible: Answer = visible
    verdict_of: Answer = verdict_of
    adopts: Answer = adopts
    # how the steps are put together
    ids_kept: float = IDS_KEPT
    offset_in_transaction: bool = True
    looks_after_reconnect: bool = True
    parents_locked: bool = True
    bisects: bool = True
    spool_in_order: bool = True
    promises_after_ack: bool = True
    deletes_after_ack: bool = True
    topic_identity: bool = True
    recovers_epoch: bool = True
    relay_begins_anew: bool = True
    relay_forgets: bool = True
    spool_before_end: bool = True
    naming: tuple[FileState, ...] = NAMING
