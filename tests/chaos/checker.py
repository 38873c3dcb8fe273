"""The invariants, each a function of what the client wrote down and what PostgreSQL and the topics say.

Nothing that the system reports about itself (counters, metrics, answers to reads) is believed. A function returns
its breaches; an empty list is the only good news.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.chaos.facts import TERMINAL, Event, Facts
from tests.chaos.journal import Account

LOST_CAP = 3
"""Attempts whose worker was lost are counted apart from failures, and ended after so many."""


@dataclass(frozen=True)
class Breach:
    invariant: str
    subject: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.subject}: {self.what}"


@dataclass(frozen=True)
class Spell:
    """When a process stood still or was cut off (seconds since 1970), with the time that its lease allows after it."""

    name: str
    start: float
    end: float


@dataclass
class Run:
    """What beside the databases a check needs to know of a run."""

    spells: list[Spell] = field(default_factory=list)
    most_at_once: dict[str, int] = field(default_factory=dict)
    """Most leases seen at once for each concurrency key, whose limit is 1."""
    foreign: dict[str, int] = field(default_factory=dict)
    """Status that another tenant's key got for each job it asked for."""
    leaks: list[str] = field(default_factory=list)
    """Places where a secret was found."""
    recoveries: list[float] = field(default_factory=list)
    """Share of the load that got through in the quiet after each burst."""
    gave_up: list[str] = field(default_factory=list)
    """Processes that did not come back by themselves."""


Found = Iterator[Breach]


def promises_kept(account: Account, facts: Facts, run: Run) -> Found:
    """I1: every 202 has a job that reached exactly one terminal state."""
    for n, ids in account.promised.items():
        for job_id in sorted(ids):
            job = facts.jobs.get(job_id)
            if job is None:
                yield Breach("I1", job_id, f"lost: submit {n} was answered by 202 and there is no such job")
            elif job.state not in TERMINAL:
                yield Breach("I1", job_id, f"lost: still {job.state}")


def nothing_from_nothing(account: Account, facts: Facts, run: Run) -> Found:
    """I2: no job without a submit, none for a refused one."""
    for job in facts.jobs.values():
        if job.n is None or job.n not in account.tried:
            yield Breach("I2", job.job_id, f"nobody submitted it (n={job.n})")
        elif job.n in account.refused and job.n not in account.promised:
            yield Breach("I2", job.job_id, f"its submit was refused with {account.refused[job.n]}")


def one_end(account: Account, facts: Facts, run: Run) -> Found:
    """I3: a terminal state never changes; attempts are 1..n without gaps, within their budgets."""
    for job_id, job in facts.jobs.items():
        steps = facts.lifecycle.get(job_id, [])
        ends = [step for step in steps if step.state in TERMINAL]
        if job.state in TERMINAL and len(ends) != 1:
            yield Breach("I3", job_id, f"recorded {len(ends)} ends: {[step.state for step in ends]}")
        if ends and steps[-1] is not ends[-1]:
            yield Breach("I3", job_id, f"went on after its end: {steps[-1].state}")
        numbers = [attempt.attempt for attempt in facts.attempts.get(job_id, [])]
        if job.state in TERMINAL and numbers != list(range(1, job.attempt + 1)):
            yield Breach("I3", job_id, f"attempts {numbers} recorded, {job.attempt} begun")
        if job.failures > job.max_attempts or job.lost > LOST_CAP:
            yield Breach("I3", job_id, f"{job.failures} failures of {job.max_attempts}, {job.lost} lost")


def effects_are_fenced(account: Account, facts: Facts, run: Run) -> Found:
    """I4: one result a job, of its last attempt, made under that attempt's fence."""
    for job_id, (number, value) in facts.results.items():
        last = facts.attempts.get(job_id, [])[-1:]
        if not last or last[0].attempt != number:
            yield Breach("I4", job_id, f"its result is of attempt {number}, its last one is {last}")
        elif isinstance(value, dict) and "fence" in value and value["fence"] != last[0].fence:
            yield Breach("I4", job_id, f"its result was made under fence {value['fence']}, recorded {last[0].fence}")
    for job_id, job in facts.jobs.items():
        if (job.state == "succeeded" or (job.state == "failed" and job.attempt)) and job_id not in facts.results:
            yield Breach("I4", job_id, "ended without a result")


def fences_grow(account: Account, facts: Facts, run: Run) -> Found:
    """I5: fences strictly increase with the attempts of a job, and no fence is given twice."""
    owners: dict[int, str] = {}
    for job_id, attempts in facts.attempts.items():
        fences = [attempt.fence for attempt in attempts]
        if fences != sorted(set(fences)):
            yield Breach("I5", job_id, f"fences {fences}")
        for fence in fences:
            if owners.setdefault(fence, job_id) != job_id:
                yield Breach("I5", job_id, f"has fence {fence} of {owners[fence]}")
    for job_id in facts.leases | facts.ready:
        job = facts.jobs.get(job_id)
        if job is None or job.state in TERMINAL or (job_id in facts.leases and job_id in facts.ready):
            yield Breach("I5", job_id, "a lease or a place in the queue without an unfinished job")


def no_two_live_runs(account: Account, facts: Facts, run: Run) -> Found:
    """I6: two attempts of a job overlap on the wall clock only while the owner of the first stood still."""
    spans: dict[str, dict[int, list[float]]] = {}
    for mark in facts.marks:
        spans.setdefault(mark.job_id, {}).setdefault(mark.attempt, []).append(mark.at)
    for job_id, attempts in spans.items():
        workers = {attempt.attempt: attempt.worker for attempt in facts.attempts.get(job_id, [])}
        for number, times in attempts.items():
            later = [min(other) for n, other in attempts.items() if n > number]
            if later and max(times) > min(later) and not _stood_still(run, workers.get(number, ""), min(later)):
                yield Breach("I6", job_id, f"attempt {number} acted {max(times) - min(later):.3f} s into the next one")


def _stood_still(run: Run, worker: str, at: float) -> bool:
    return any(spell.name == worker and spell.start <= at <= spell.end for spell in run.spells)


def events_are_gapless(account: Account, facts: Facts, run: Run) -> Found:
    """I7: first occurrences are 1, 2, 3, … to the job's number; whatever comes again is equal byte for byte."""
    for job_id, events in facts.events.items():
        digests: dict[tuple[int, int], str] = {}
        for event in events:
            if digests.setdefault((event.incarnation, event.event_no), event.digest) != event.digest:
                yield Breach("I7", job_id, f"event {event.event_no} came twice with different contents")
        numbers = [event.event_no for event in firsts(events)]
        job = facts.jobs.get(job_id)
        if job is None:
            yield Breach("I7", job_id, "events of a job that is not there")
        elif numbers != list(range(1, job.event_no + 1)):
            yield Breach("I7", job_id, f"events {numbers}, the job is at {job.event_no}")
    for job_id in facts.jobs.keys() - facts.events.keys():
        yield Breach("I7", job_id, "no events")


def causes_come_first(account: Account, facts: Facts, run: Run) -> Found:
    """I8: nothing starts before it was accepted, nothing follows an end."""
    for job_id, events in facts.events.items():
        story = firsts(events)
        if story and story[0].state == "running":
            yield Breach("I8", job_id, "started before it was accepted")
        ends = [place for place, event in enumerate(story) if event.state in TERMINAL]
        if ends and ends != [len(story) - 1]:
            yield Breach("I8", job_id, f"its end is not its last event: {[event.state for event in story]}")


def projections_agree(account: Account, facts: Facts, run: Run) -> Found:
    """I9: executor, topic and monitor tell the same story."""
    for job_id, job in facts.jobs.items():
        if facts.seen.get(job_id) != (job.state, job.event_no):
            told = facts.seen.get(job_id)
            yield Breach("I9", job_id, f"the monitor says {told}, the executor {(job.state, job.event_no)}")
        steps = [(step.event_no, step.state) for step in facts.lifecycle.get(job_id, [])]
        if steps != [(event.event_no, event.state) for event in firsts(facts.events.get(job_id, []))]:
            yield Breach("I9", job_id, "its lifecycle is not what the topic tells")
        if steps != [(step.event_no, step.state) for step in facts.timeline.get(job_id, [])]:
            yield Breach("I9", job_id, "its lifecycle is not what the monitor's timeline tells")


def one_job_a_key(account: Account, facts: Facts, run: Run) -> Found:
    """I10: an idempotency key makes one job; after an ingested cancel no attempt starts."""
    owners: dict[int, list[str]] = {}
    for job in facts.jobs.values():
        if job.n is not None:
            owners.setdefault(job.n, []).append(job.job_id)
    for n, ids in owners.items():
        if len(ids) > 1 or len(account.promised.get(n, set())) > 1:
            yield Breach("I10", str(n), f"one key, jobs {ids}, answered {sorted(account.promised.get(n, set()))}")
    for job_id, steps in facts.lifecycle.items():
        stopped = False
        for step in steps:
            if stopped and step.state not in ("cancelled", *TERMINAL):
                yield Breach("I10", job_id, f"{step.state} after its cancel")
            stopped = stopped or step.state in ("cancelling", "cancelled")
    for job_id in account.cancelled:
        states = [step.state for step in facts.lifecycle.get(job_id, [])]
        if "cancelling" in states and states[-1] != "cancelled":
            yield Breach("I10", job_id, f"was cancelled while it ran and ended {states[-1]}")


def poison_is_set_aside(account: Account, facts: Facts, run: Run) -> Found:
    """I11: what nobody can read is in the dead letters, once, and nothing waits behind it."""
    found: dict[tuple[int, int], set[str]] = {}
    for letter in facts.letters:
        found.setdefault((letter.partition, letter.offset), set()).add(letter.digest)
    for place in sorted(account.poisoned):
        if len(found.get(place, set())) != 1:
            yield Breach("I11", f"commands {place}", f"{len(found.get(place, set()))} different dead letters")
    for where, records in facts.lag.items():
        if records != 0:
            yield Breach("I11", where, f"{records} records behind" if records > 0 else "offset beyond the end")
    for schema, rows in facts.waiting.items():
        if rows:
            yield Breach("I11", schema, f"{rows} rows wait in the outbox")


def caps_hold(account: Account, facts: Facts, run: Run) -> Found:
    """I12: a concurrency key never has more leases at once than its limit, which is 1."""
    for key, most in run.most_at_once.items():
        if most > 1:
            yield Breach("I12", key, f"{most} at once")


def bytes_are_kept(account: Account, facts: Facts, run: Run) -> Found:
    """I13: an acknowledged upload has its bytes, and every file's content is on the disk under its true hash."""
    for file_id, sha256 in account.uploaded.items():
        state, known = facts.files.get(file_id, ("missing", ""))
        if state != "ready" or known != sha256:
            yield Breach("I13", file_id, f"{state} with {known[:12]!r}, uploaded was {sha256[:12]!r}")
    for file_id, (state, sha256) in facts.files.items():
        if state in ("ready", "held") and facts.blobs.get(sha256) != sha256:
            yield Breach("I13", file_id, f"its content {sha256[:12]} is missing or wrong on the disk")


def nothing_leaks(account: Account, facts: Facts, run: Run) -> Found:
    """I14: no secret in a log, an event or a trace; nobody reads another tenant's job."""
    for place in run.leaks:
        yield Breach("I14", place, "holds a secret")
    for job_id, status in run.foreign.items():
        if status != 404:
            yield Breach("I14", job_id, f"another tenant got {status}")


def recovers(account: Account, facts: Facts, run: Run) -> Found:
    """I15: after each burst at least 80 % of the load gets through within the quiet, with nobody's help."""
    for number, share in enumerate(run.recoveries, 1):
        if share < 0.8:
            yield Breach("I15", f"burst {number}", f"{share:.0%} of the load came through")
    for name in run.gave_up:
        yield Breach("I15", name, "did not come back by itself")


Invariant = Callable[[Account, Facts, Run], Found]
ALL: tuple[Invariant, ...] = (
    promises_kept, nothing_from_nothing, one_end, effects_are_fenced, fences_grow, no_two_live_runs,
    events_are_gapless, causes_come_first, projections_agree, one_job_a_key, poison_is_set_aside, caps_hold,
    bytes_are_kept, nothing_leaks, recovers,
)  # fmt: skip


def check(account: Account, facts: Facts, run: Run | None = None) -> list[Breach]:
    """Every breach of every invariant."""
    return [breach for invariant in ALL for breach in invariant(account, facts, run or Run())]


def lost(breaches: list[Breach]) -> int:
    return len({breach.subject for breach in breaches if breach.invariant == "I1"})


def recorded_twice(breaches: list[Breach]) -> int:
    """Jobs with more than one recorded end, attempt or result, or with one that was not theirs."""
    return len({breach.subject for breach in breaches if breach.invariant in ("I3", "I4", "I5")})


def firsts(events: list[Event]) -> list[Event]:
    """Each event where it came first."""
    found: dict[tuple[int, int], Event] = {}
    for event in events:
        found.setdefault((event.incarnation, event.event_no), event)
    return list(found.values())
