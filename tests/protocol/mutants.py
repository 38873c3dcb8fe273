"""The protocol with one rule taken away at a time, as data. Each must be caught, by the invariant that says why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from jobyard_common.messaging.relaying import Answered, Horizon, Numbers
from jobyard_common.messaging.resume import Look, Resume
from jobyard_executor.domain.epoch import Sight, look
from jobyard_executor.domain.job import ACTIVE, Cause, Refusal, next_state
from jobyard_executor.domain.ownership import Agreement, reconcile
from jobyard_executor.domain.session import Watch
from jobyard_files.domain.file import FileState
from jobyard_files.domain.held import Fate, Verdict, fate_of
from jobyard_gateway.domain.keeping import Way
from jobyard_gateway.domain.telling import Tell, Word, tell

from tests.protocol.rules import Rules


@dataclass(frozen=True)
class Mutant:
    """`source` names the section that asks for the rule; `changes` are answers of `Rules`; `schedule` names the
    directed one of `schedules.py` where chance would take too long."""

    name: str
    source: str
    changes: Mapping[str, Any]
    schedule: str | None = None

    def rules(self) -> Rules:
        return replace(Rules(), **self.changes)


def _owns_by_id(job: Any, *, fence: int | None, session: str | None) -> bool:
    return job.state in ACTIVE


def _requeue_wins(job: Any, cause: Cause, **given: Any) -> Any:
    """Forgets the cancel flag when an attempt ends without success."""
    if job.state == "cancelling" and cause is not Cause.SUCCEEDED:
        job.state = type(job.state)("running")
    return next_state(job, cause, **given)


def _ends_again(job: Any, cause: Cause, **given: Any) -> Any:
    found = next_state(job, cause, **given)
    if found is Refusal.FINISHED and cause is Cause.CANCEL_ASKED:
        job.state = type(job.state)("queued")
        return next_state(job, cause, **given)
    return found


def _believe(known: int | None, found: int) -> Sight:
    sight = look(known, found)
    return Sight.NEWER if sight is Sight.STALE else sight


class _HastyWatch(Watch):
    """Believes the clock of the database alone."""

    def observe(self, session: str, *, beat: int, expired: bool, at: float) -> bool:
        return expired


def _hand_nothing_back(*given: Any, **more: Any) -> Agreement:
    return replace(reconcile(*given, **more), hand_back=frozenset())


def _kill_nothing(*given: Any, **more: Any) -> Agreement:
    return replace(reconcile(*given, **more), kill=frozenset())


def _never_verify(next_offset: int, fingerprint: bytes | None, *, begin: int, end: int) -> Resume:
    return Resume(min(max(next_offset, begin), max(end, begin)))


class _Cursor(Numbers):
    """Goes on behind what was published."""

    def begins(self, kept: Collection[int]) -> int:
        return self.top + 1


class _OwnOnly(Numbers):
    """Knows that its own process may commit late, and nobody else."""

    def begins(self, kept: Collection[int]) -> int:
        return super().begins(kept) if self._unsure > self._settled else min(kept, default=self.top + 1)


class _Hasty(Numbers):
    """Takes a number that did not appear for one that never will."""

    def look(self, horizon: Horizon, *, top: int) -> None:
        self._ended = top


class _Blind(Numbers):
    """Settles numbers when their transactions end, before a round has looked for their rows."""

    def look(self, horizon: Horizon, *, top: int) -> None:
        super().look(horizon, top=top)
        self.looked([], (), whole=True)


class _CutShort(Numbers):
    """Believes that a round saw everything, however many rows it may bring."""

    def looked(self, found: Sequence[int], kept: Collection[int], *, whole: bool) -> list[int]:
        return super().looked(found, kept, whole=True)


class _Certain(Numbers):
    """What was sent is published."""

    def doubt(self) -> None:
        pass


def _silence_is_no(*, executor: Word, promises: Word, behind: Word) -> Tell:
    return tell(executor=executor, promises=Word.NO if promises is Word.SILENT else promises, behind=behind)


def _silence_deletes(verdict: Verdict) -> Fate:
    return fate_of(Verdict.DISCARDED if verdict is Verdict.UNKNOWN else verdict)


def _answered_all(numbers: Any, answers: Any) -> Answered:
    return Answered(list(numbers), [], [])


# Not here, because other rules hold what they hold, at least in this model: a beat that refuses an expired session
# (what it lost is handed back by the next beat), the lock of a claim on its session (orphaned leases are swept), a
# seizure that compares beats (an expired session cannot beat). `test_conformance.py` holds their SQL to its twins.
MUTANTS = (
    Mutant(
        "no fence: ends are accepted by job id",
        "rel 0.2, 2.2",
        {"owns": _owns_by_id},
        schedule="an end after the reaper",
    ),
    Mutant("no compare-and-set of offsets", "rel 0.5, protocol 3", {"moves": lambda stored, held: True}),
    Mutant(
        "the compare-and-set looks at the number alone",
        "protocol H8",
        {"moves": lambda stored, held: stored[0] == held[0]},
        schedule="two pasts",
    ),
    Mutant(
        "an outbox with a cursor",
        "rel 2.2, DESIGN 4",
        {
            "numbers": _Cursor,
            "relay_begins_anew": False,
        },
    ),
    Mutant(
        "numbers of other processes are not missed", "rel 2.2, H25", {"numbers": _OwnOnly}, schedule="a job that moves"
    ),
    Mutant("a missing number is given up at once", "rel 2.2, H25", {"numbers": _Hasty}, schedule="a job that moves"),
    Mutant(
        "a number is settled before a round has looked",
        "rel 2.2, H25",
        {"numbers": _Blind},
        schedule="more rows than a round brings",
    ),
    Mutant(
        "a round that was cut short settles all",
        "rel 2.2, H25",
        {"numbers": _CutShort},
        schedule="more rows than a round brings",
    ),
    Mutant("a relay does not doubt what it sent in vain", "rel 2.2", {"numbers": _Certain}, schedule="a send in vain"),
    Mutant("a relay remembers another life of the database", "DESIGN 14.7", {"relay_forgets": False}),
    Mutant("the offset is committed before its transaction", "rel 2.3 K4-K6", {"offset_in_transaction": False}),
    Mutant(
        "counters instead of leases",
        "protocol H13, DESIGN 5",
        {"room": lambda limit, leases, n: max(0, limit - n)},
    ),
    Mutant(
        "a lease without a trust window",
        "rel 2.2",
        {"trusted_until": lambda began: began + 1e9},
        schedule="a worker cut off",
    ),
    Mutant(
        "what a sleeping claim got is started",
        "rel 2.2, 2.4",
        {"may_start": lambda at, trusted_until, claims_open: True},
        schedule="an answer that slept",
    ),
    Mutant("the cancel flag is ignored by a requeue", "protocol H6b", {"next_state": _requeue_wins}),
    Mutant("a cancel moves what has ended", "rel I3", {"next_state": _ends_again}),
    Mutant("commands are applied as often as they come", "protocol H4", {"is_seen": lambda command_id, seen: False}),
    Mutant(
        "the spool is not drained in order", "protocol H4", {"spool_in_order": False}, schedule="two orders of one job"
    ),
    Mutant(
        "later commands do not look into the spool",
        "protocol H4",
        {"way_of_later": lambda waits, needs_order: Way.PUBLISH},
        schedule="two orders of one job",
    ),
    Mutant("no tombstone", "protocol H6a", {"leaves_tombstone": lambda cancel, exists: False}),
    Mutant(
        "a tombstone is not looked at",
        "protocol H6a",
        {"born": lambda **given: Rules().born(**{**given, "tombstone": False})},
    ),
    Mutant(
        "claims do not wait in a new epoch",
        "protocol H5c",
        {"hold_left": lambda **given: timedelta()},
        schedule="claims at once",
    ),
    Mutant("no epoch in the fence", "protocol H5b", {"fence_of": lambda epoch, serial: serial}),
    Mutant("no epoch in the incarnation", "protocol H5a", {"incarnation_of": lambda epoch, born_ms: born_ms}),
    Mutant("a server left behind is believed", "protocol H5", {"look_epoch": _believe}),
    Mutant("a restore by hand without a recovery", "DESIGN 13", {"recovers_epoch": False}),
    Mutant(
        "a recovery adds one",
        "DESIGN 13",
        {"next_added": lambda added, timeline, above: max(above, timeline + added) + 1 - timeline},
        schedule="two restores",
    ),
    Mutant("a missing offset means latest", "protocol H8", {"missing_offset": lambda end: end}),
    Mutant("no nonce is compared", "protocol H8", {"look": lambda offset, print_, next_offset, wanted: Look.GOOD}),
    Mutant(
        "the fingerprint is of the command",
        "protocol H8",
        {"fingerprint": lambda nonce, command: command.encode()},
    ),
    Mutant("no look after a reconnect", "protocol H8", {"looks_after_reconnect": False}),
    Mutant("an offset beyond the end is set to it", "protocol H8", {"resume": _never_verify}),
    Mutant("a topic made anew is taken for the old one", "DESIGN 4", {"topic_identity": False}),
    Mutant(
        "a batch is repeated after the database forgot its commits",
        "protocol 3, DESIGN 14.7",
        {"goes_on": lambda held, stored: True},
        schedule="a batch in hand",
    ),
    Mutant(
        "a batch is repeated behind another record of the same number",
        "DESIGN 14.9",
        {"goes_on": lambda held, stored: stored[0] >= held[0]},
        schedule="two pasts, and an unclear end",
    ),
    Mutant("a beat hands nothing back", "protocol H1", {"reconcile": _hand_nothing_back}),
    Mutant("a beat kills nothing", "protocol H1, H5", {"reconcile": _kill_nothing}, schedule="a claim that was lost"),
    Mutant("no net under leases of nobody", "protocol H15", {"orphaned": lambda at, worker, db_now: False}),
    Mutant("the reaper believes one clock", "protocol H18", {"watch": _HastyWatch}, schedule="a clock that jumps"),
    Mutant(
        "parents are not locked", "protocol H2", {"parents_locked": False}, schedule="a child while its parent ends"
    ),
    Mutant(
        "a spool that is away has nothing", "protocol H17", {"tell": _silence_is_no}, schedule="a promise in the spool"
    ),
    Mutant(
        "404 without asking behind the end",
        "protocol H17",
        {"tell": lambda executor, promises, behind: tell(executor=executor, promises=promises, behind=promises)},
    ),
    Mutant("an executor answers however far it has come", "protocol H17", {"has_passed": lambda applied, after: True}),
    Mutant("the end is read before the spool", "protocol H17", {"spool_before_end": False}),
    Mutant("a read does not look at the tenant", "rel I14", {"visible": lambda owner, caller: True}),
    Mutant("silence deletes outputs", "protocol H21a", {"fate_of": _silence_deletes}, schedule="an output that waits"),
    Mutant(
        "outputs go by their age",
        "protocol H21a",
        {"fate_of": lambda verdict: Fate.KEEP if verdict is Verdict.RUNNING else Fate.EXPIRE},
        schedule="an output that waits",
    ),
    Mutant("a content that is leaving gets a new name", "protocol H21c", {"adopts": lambda state: True}),
    Mutant("contents of held outputs are unused", "protocol H21", {"naming": (FileState.READY,)}),
    Mutant("claims wait for minutes in a new epoch", "rel I15", {"hold_left": lambda **given: timedelta(seconds=200)}),
    Mutant("poison is not set apart", "protocol H7", {"bisects": False}),
    Mutant("ids are forgotten early", "protocol H3", {"ids_kept": 6.0}),
    Mutant("a key binds nothing", "protocol H12", {"contradicts": lambda known, given: False}),
    Mutant("events win as they come", "rel I9", {"newer": lambda event, stored: True}),
    Mutant("a promise before the acknowledgement", "rel 2.2", {"promises_after_ack": False}),
    Mutant("an event is deleted without an acknowledgement", "rel 2.2", {"sort_answers": _answered_all}),
    Mutant("limits are read, not counted", "protocol H13", {"room": lambda limit, leases, n: limit}),
)
