"""Histories that chance finds too rarely, written down. Each must hold under the rules of the product, too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from jobyard_executor.domain.job import Cause

from tests.protocol import consuming, working
from tests.protocol.chance import wake
from tests.protocol.schedules_outside import OUTSIDE
from tests.protocol.script import Always, Script


def a_worker_cut_off(script: Script) -> None:
    """It does not reach the database any more; its tools must be dead before others start them."""
    script.promised("job-0")
    script.ingest(script.one)
    script.claim(script.one)
    script.one.cut_off = True
    script.one.disconnect()
    script.others_take_over(script.two)


def an_end_after_the_reaper(script: Script) -> None:
    """A frozen worker's tool ends, its job runs elsewhere, and the first thing it does awake is to store the end."""
    script.promised("job-0")
    script.ingest(script.one)
    script.claim(script.one)
    script.one.freeze()
    script.others_take_over(script.two)
    for key in list(script.one.running):
        script.one.running.discard(key)
        script.one.outcomes[key] = Cause.SUCCEEDED
    script.one.frozen = False
    script.step(lambda: working.finish(script.world, script.one, script.rng, well=True))
    script.step(lambda: wake(script.world, script.one, script.rng))


def two_restores(script: Script) -> None:
    """A copy from before a recovery takes over after it, and its next timeline meets the recovery's epoch."""
    script.promised("job-0")
    script.ingest(script.one)
    world = script.world
    world.back_up()
    script.step(lambda: world.fail_over(by_hand=True))
    script.others_take_over(script.two, rounds=10)
    script.step(lambda: world.fail_over(old_copy=True))
    for process in world.processes:
        process.kill()
        world.gone(process)
        process.start()
    script.others_take_over(script.one, rounds=10)


def a_batch_in_hand(script: Script) -> None:
    """A fail-over forgets commits while a batch that follows them waits to be tried again."""
    world, one = script.world, script.one
    script.promised("job-0")
    assert one.connect()
    world.back_up()
    script.ingest(one)
    script.promised("job-1")
    while not one.batch:
        script.fetch(one)
    one.unsure = True
    script.step(world.fail_over)
    assert one.connect()
    for _ in range(6):
        script.step(lambda: consuming.apply(world, one, script.rng, well=True))
        script.fetch(one)


def two_pasts(script: Script, *, unsure: bool = False) -> None:
    """Kafka loses a record that was read, an operator goes back, and PostgreSQL then forgets that, in the middle of a
    batch: the number is the right one, and the record before it is not."""
    world, one = script.world, script.one
    script.promised("job-0")
    script.ingest(one)
    world.back_up()
    world.log.lose(1)
    world.excused |= {"cmd-job-0", "job-0"}
    script.promised("job-1")
    script.promised("job-2")
    script.ingest(one, rounds=3)
    script.step(world.rewind)
    while one.next != 1:
        one.batch = one.batch[:1]
        script.step(lambda: consuming.apply(world, one, script.rng, well=True))
        script.fetch(one)
    while not one.batch:
        script.fetch(one)
    one.unsure = unsure
    script.step(world.fail_over)
    assert one.connect()
    for _ in range(4):
        script.step(lambda: consuming.apply(world, one, script.rng, well=True))
        script.fetch(one)


def a_claim_that_was_lost(script: Script) -> None:
    """The new primary has the session, but not the claim: the worker must let go before others claim."""
    script.promised("job-0")
    script.ingest(script.one)
    script.one.open_session()
    script.world.back_up()
    script.claim(script.one)
    script.step(script.world.fail_over)
    for _ in range(12):
        script.tick()
        script.beat(script.one)
        script.beat(script.two)
        script.claim(script.two)


def claims_at_once(script: Script) -> None:
    """A fail-over forgets a claim, and another process claims before its worker can know."""
    script.promised("job-0")
    script.ingest(script.one)
    script.world.back_up()
    script.claim(script.one)
    assert script.two.connect()
    script.step(script.world.fail_over)
    for _ in range(3):
        script.claim(script.two)


def an_answer_that_slept(script: Script) -> None:
    """A process freezes between the commit of its claim and the answer, and wakes when others run the job."""
    world, one = script.world, script.one
    script.promised("job-0")
    script.ingest(one)
    script.step(lambda: working.claim(world, one, Always(0.01)))
    assert one.frozen and one.claimed
    script.others_take_over(script.two)
    script.step(lambda: wake(world, one, Always(0.3)))


def a_clock_that_jumps(script: Script) -> None:
    """The clock of the database goes ahead by more than a lease; the worker beats as it should."""
    script.promised("job-0")
    script.ingest(script.one)
    script.claim(script.one)
    assert script.two.connect()
    script.step(lambda: script.world.step_clock(20.0))
    for _ in range(4):
        script.reap(script.two)
        script.claim(script.two)
    script.beat(script.one)
    script.others_take_over(script.two)


def a_child_while_its_parent_ends(script: Script) -> None:
    """The child is taken in between the parent's end and the commit of it."""
    world, one = script.world, script.one
    script.promised("job-0")
    script.ingest(one)
    script.claim(one)
    script.promised("job-1", parent="job-0")
    for key in list(one.running):
        one.running.discard(key)
        one.outcomes[key] = Cause.SUCCEEDED
    script.step(lambda: working.begin_slow(world, one))
    assert script.two.connect()
    script.ingest(script.two, rounds=3)
    while one.slow is not None:
        script.step(lambda: working.commit_slow(world, one, script.rng))
    script.ingest(script.two)


SCHEDULES: dict[str, Callable[[Script], None]] = {
    "a worker cut off": a_worker_cut_off,
    "an end after the reaper": an_end_after_the_reaper,
    "two restores": two_restores,
    "a batch in hand": a_batch_in_hand,
    "two pasts": two_pasts,
    "two pasts, and an unclear end": partial(two_pasts, unsure=True),
    "a claim that was lost": a_claim_that_was_lost,
    "claims at once": claims_at_once,
    "an answer that slept": an_answer_that_slept,
    "a clock that jumps": a_clock_that_jumps,
    "a child while its parent ends": a_child_while_its_parent_ends,
    **OUTSIDE,
}
