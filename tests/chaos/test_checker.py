"""A checker that finds nothing proves nothing: each invariant is broken once, on purpose, and must be named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.chaos.checker import Run, Spell, check, lost, recorded_twice
from tests.chaos.facts import Attempt, Event, Facts, Job, Letter, Mark, Step
from tests.chaos.journal import Account, account

AT = datetime(2026, 1, 1, tzinfo=UTC)
FILE, SHA = "file_1", "ab" * 32
STORY = (("queued", "queued"), ("started", "running"), ("succeeded", "succeeded"))
CANCELLED = (("queued", "queued"), ("started", "running"), ("cancelling", "cancelling"), ("cancelled", "cancelled"))
RERUN = (("queued", "queued"), ("started", "running"), ("retrying", "queued"), *STORY[1:])


class World:
    """Three jobs whose whole story is in order: one runs once, one twice, one is cancelled."""

    def __init__(self) -> None:
        self.facts, self.run = Facts(), Run(recoveries=[0.95])
        entries = []
        for n, (job_id, story) in enumerate((("job_a", STORY), ("job_b", RERUN), ("job_c", CANCELLED)), 1):
            self._tell(job_id, n, story)
            entries += [{"do": "submit", "n": n}, {"do": "submit", "n": n, "status": 202, "job_id": job_id, "at": 1.0}]
        entries.append({"do": "cancel", "n": 3, "job_id": "job_c", "status": 202})
        entries.append({"do": "upload", "status": 204, "file_id": FILE, "sha256": SHA})
        entries.append({"do": "poisoned", "partition": 0, "offset": 7})
        self.account: Account = account(entries)
        self.facts.files[FILE], self.facts.blobs[SHA] = ("ready", SHA), SHA
        self.facts.letters.append(Letter("jobs.commands", 0, 7, "x"))
        self.facts.lag, self.facts.waiting = {"executor jobs.commands/0": 0}, {"executor": 0}
        self.run.foreign = {"job_a": 404}
        self.run.most_at_once = {"only-1": 1}

    def _tell(self, job_id: str, n: int, story: tuple[tuple[str, str], ...]) -> None:
        attempt, steps = 0, []
        for number, (verb, state) in enumerate(story, 1):
            attempt += verb == "started"
            steps.append(Step(number, verb, state, attempt))
        facts, state = self.facts, story[-1][1]
        facts.jobs[job_id] = Job(job_id, "tnt", state, len(story), attempt, 0, attempt - 1, 3, n, "test.count")
        facts.lifecycle[job_id], facts.timeline[job_id] = steps, list(steps)
        facts.events[job_id] = [
            Event(step.event_no, 1, step.type, step.state, f"{job_id}{step.event_no}") for step in steps
        ]
        facts.seen[job_id] = (state, len(story))
        fences = [100 * n + number for number in range(1, attempt + 1)]
        verdicts = ["worker_lost"] * (attempt - 1) + [state]
        facts.attempts[job_id] = [
            Attempt(number, fence, "executor-1", verdict, AT, AT)
            for number, (fence, verdict) in enumerate(zip(fences, verdicts, strict=True), 1)
        ]
        for number, fence in enumerate(fences, 1):
            at = 1000.0 + 10 * number
            facts.marks += [Mark(job_id, number, fence, "start", at), Mark(job_id, number, fence, "end", at + 1)]
        facts.results[job_id] = (attempt, {"fence": fences[-1]} if state == "succeeded" else None)

    def job(self, job_id: str, **changed: object) -> None:
        self.facts.jobs[job_id] = replace(self.facts.jobs[job_id], **changed)  # type: ignore[arg-type]

    def found(self) -> set[str]:
        return {breach.invariant for breach in check(self.account, self.facts, self.run)}


def test_a_world_in_order_has_no_breach() -> None:
    assert check(World().account, World().facts, World().run) == []


def lost_job(world: World) -> None:
    for table in (world.facts.jobs, world.facts.events, world.facts.lifecycle, world.facts.attempts):
        del table["job_a"]
    del world.facts.results["job_a"]


def stuck_job(world: World) -> None:
    world.job("job_a", state="running")


def ghost_job(world: World) -> None:
    world.job("job_a", n=99)


def refused_yet_made(world: World) -> None:
    del world.account.promised[1]
    world.account.refused[1] = 422


def second_end(world: World) -> None:
    world.facts.lifecycle["job_a"].append(Step(4, "failed", "failed", 1))


def attempt_recorded_twice(world: World) -> None:
    world.facts.attempts["job_a"].append(world.facts.attempts["job_a"][0])


def attempt_forgotten(world: World) -> None:
    del world.facts.attempts["job_b"][0]


def lost_without_end(world: World) -> None:
    world.job("job_b", lost=4)


def result_of_a_stale_fence(world: World) -> None:
    world.facts.results["job_b"] = (2, {"fence": 201})


def result_of_an_old_attempt(world: World) -> None:
    world.facts.results["job_b"] = (1, None)


def no_result(world: World) -> None:
    del world.facts.results["job_a"]


def fence_given_twice(world: World) -> None:
    world.facts.attempts["job_a"][0] = replace(world.facts.attempts["job_a"][0], fence=201)


def lease_of_nobody(world: World) -> None:
    world.facts.leases.add("job_a")


def two_live_runs(world: World) -> None:
    world.facts.marks.append(Mark("job_b", 1, 201, "end", 1020.5))


def gap_in_events(world: World) -> None:
    del world.facts.events["job_b"][1]


def other_bytes_again(world: World) -> None:
    world.facts.events["job_a"].append(replace(world.facts.events["job_a"][0], digest="other"))


def started_first(world: World) -> None:
    world.facts.events["job_a"][0] = replace(world.facts.events["job_a"][0], state="running")


def monitor_behind(world: World) -> None:
    world.facts.seen["job_a"] = ("running", 2)


def timeline_differs(world: World) -> None:
    world.facts.timeline["job_a"].pop()


def two_jobs_of_a_key(world: World) -> None:
    world._tell("job_d", 1, STORY)


def ran_after_its_cancel(world: World) -> None:
    world.facts.lifecycle["job_c"].insert(3, Step(4, "started", "running", 2))


def cancel_forgotten(world: World) -> None:
    world.facts.lifecycle["job_c"][-1] = Step(4, "failed", "failed", 1)


def poison_swallowed(world: World) -> None:
    world.facts.letters.clear()


def poison_told_twice(world: World) -> None:
    world.facts.letters.append(Letter("jobs.commands", 0, 7, "another"))


def records_left(world: World) -> None:
    world.facts.lag["executor jobs.commands/0"] = 3


def offset_beyond_the_end(world: World) -> None:
    world.facts.lag["executor jobs.commands/0"] = -1


def outbox_left(world: World) -> None:
    world.facts.waiting["executor"] = 2


def cap_exceeded(world: World) -> None:
    world.run.most_at_once["only-1"] = 2


def upload_forgotten(world: World) -> None:
    del world.facts.files[FILE]


def bytes_gone(world: World) -> None:
    del world.facts.blobs[SHA]


def bytes_changed(world: World) -> None:
    world.facts.blobs[SHA] = "cd" * 32


def secret_logged(world: World) -> None:
    world.run.leaks.append("executor-1.log")


def foreign_eyes(world: World) -> None:
    world.run.foreign["job_a"] = 200


def never_recovered(world: World) -> None:
    world.run.recoveries.append(0.5)


def needed_a_hand(world: World) -> None:
    world.run.gave_up.append("files-1")


BROKEN: list[tuple[str, Callable[[World], None]]] = [
    ("I1", lost_job), ("I1", stuck_job), ("I2", ghost_job), ("I2", refused_yet_made), ("I3", second_end),
    ("I3", attempt_recorded_twice), ("I3", attempt_forgotten), ("I3", lost_without_end),
    ("I4", result_of_a_stale_fence), ("I4", result_of_an_old_attempt), ("I4", no_result), ("I5", fence_given_twice),
    ("I5", lease_of_nobody), ("I6", two_live_runs), ("I7", gap_in_events), ("I7", other_bytes_again),
    ("I8", started_first), ("I9", monitor_behind), ("I9", timeline_differs), ("I10", two_jobs_of_a_key),
    ("I10", ran_after_its_cancel), ("I10", cancel_forgotten), ("I11", poison_swallowed), ("I11", poison_told_twice),
    ("I11", records_left), ("I11", offset_beyond_the_end), ("I11", outbox_left), ("I12", cap_exceeded),
    ("I13", upload_forgotten), ("I13", bytes_gone), ("I13", bytes_changed), ("I14", secret_logged),
    ("I14", foreign_eyes), ("I15", never_recovered), ("I15", needed_a_hand),
]  # fmt: skip


@pytest.mark.parametrize(("invariant", "breaks"), BROKEN, ids=[breaks.__name__ for _, breaks in BROKEN])
def test_what_is_broken_is_found(invariant: str, breaks: Callable[[World], None]) -> None:
    world = World()
    breaks(world)
    assert invariant in world.found()


def test_every_invariant_is_broken_once() -> None:
    assert {invariant for invariant, _ in BROKEN} == {f"I{number}" for number in range(1, 16)}


def test_a_lost_job_and_a_double_record_are_counted() -> None:
    world = World()
    lost_job(world)
    second_end_of_b = Step(6, "failed", "failed", 2)
    world.facts.lifecycle["job_b"].append(second_end_of_b)
    breaches = check(world.account, world.facts, world.run)
    assert (lost(breaches), recorded_twice(breaches)) == (1, 1)


def test_an_owner_that_stood_still_may_overlap() -> None:
    """Whoever is frozen cannot know that its lease has ended; its writes are refused, its effects outside are not."""
    world = World()
    two_live_runs(world)
    world.run.spells.append(Spell("executor-1", 1015.0, 1021.0))
    assert world.found() == set()
