"""Histories of what lies around the jobs: relays of two processes, clients that ask, files that wait."""

from __future__ import annotations

from collections.abc import Callable

from jobyard_executor.domain.job import Cause

from tests.protocol import asking, working
from tests.protocol.bus import RESCHEDULE, Command
from tests.protocol.filing import HELD_FOR
from tests.protocol.relay import relay
from tests.protocol.script import Always, Script


def a_job_that_moves(script: Script) -> None:
    """An attempt ends in one process, whose commit takes its time; the next one begins where the relay is."""
    world, one, two = script.world, script.one, script.two
    script.promised("job-0")
    script.ingest(one)
    script.claim(one)
    assert two.connect()
    for _ in range(5):
        script.step(lambda: relay(world, two, script.rng, well=True))
    for key in list(one.running):
        one.running.discard(key)
        one.outcomes[key] = Cause.INTERRUPTED
    script.step(lambda: working.begin_slow(world, one))
    script.promised("job-1")
    script.keeps(two, lambda: script.ingest(two, rounds=3))
    for _ in range(3):
        script.step(lambda: relay(world, two, script.rng, well=True, full=False))
    script.step(lambda: relay(world, two, script.rng, well=True, full=True))
    while one.slow is not None:
        script.step(lambda: working.commit_slow(world, one, script.rng))
    script.keeps(two, lambda: script.claim(two))
    for _ in range(3):
        script.step(lambda: relay(world, two, script.rng, well=True, full=False))


def more_rows_than_a_round_brings(script: Script) -> None:
    """The row of a job that moved is committed, and its number known, when a round ends short of it."""
    world, one, two = script.world, script.one, script.two
    script.promised("job-0")
    script.ingest(one)
    script.claim(one)
    assert two.connect()
    for _ in range(5):
        script.step(lambda: relay(world, two, script.rng, well=True))
    for name in ("job-1", "job-2", "job-3"):
        script.promised(name)
    script.ingest(one)
    for key in list(one.running):
        one.running.discard(key)
        one.outcomes[key] = Cause.INTERRUPTED
    script.step(lambda: working.finish(world, one, script.rng, well=True))
    script.promised("job-4")
    script.keeps(two, lambda: script.ingest(two))
    for _ in range(2):
        two.numbers.look(world.db.horizon, top=two.numbers.top)
    script.step(lambda: relay(world, two, script.rng, well=True, full=False))
    script.keeps(two, lambda: [script.claim(two) for _ in range(3)])
    for _ in range(5):
        script.step(lambda: relay(world, two, script.rng, well=True, full=False))


def a_promise_in_the_spool(script: Script) -> None:
    """A client asks for its job while the spool cannot be read; the executor has taken in all that Kafka has."""
    world = script.world
    world.asked = call = asking.begin(world, script.spooled("job-0"), mine=True)
    script.step(lambda: asking.step(world, call))
    script.step(lambda: asking.step(world, call, silent=True))
    while world.asked is not None:
        script.step(lambda: asking.step(world, call))


def an_output_that_waits(script: Script) -> None:
    """An end is recorded, its event is not read for long, and the executor does not answer."""
    world, one = script.world, script.one
    script.promised("job-0")
    script.ingest(one)
    script.claim(one)
    for key in list(one.running):
        assert world.shelf.store(world, key)
        one.running.discard(key)
        one.outcomes[key] = Cause.SUCCEEDED
    script.step(lambda: working.finish(world, one, script.rng, well=True))
    script.tick(HELD_FOR + 1)
    script.step(lambda: world.shelf.sweep(world, script.rng, silent=True))
    script.step(lambda: world.shelf.sweep(world, script.rng, well=True))


def a_send_in_vain(script: Script) -> None:
    """Kafka does not answer for one event; the next one of its job comes from memory."""
    world, one, two = script.world, script.one, script.two
    script.promised("job-0")
    script.ingest(one)
    assert two.connect()
    for _ in range(5):
        script.step(lambda: relay(world, two, script.rng, well=True))
    script.claim(one)
    for key in list(one.running):
        one.running.discard(key)
        one.outcomes[key] = Cause.INTERRUPTED
    script.step(lambda: working.finish(world, one, script.rng, well=True))
    script.step(lambda: relay(world, two, Always(0.95), full=False))
    script.keeps(two, lambda: script.claim(two))
    for _ in range(3):
        script.step(lambda: relay(world, two, script.rng, well=True, full=False))


def two_orders_of_one_job(script: Script) -> None:
    """Kafka does not take the first, and would take the second."""
    world, front = script.world, script.world.front
    script.promised("job-0", run_at=60.0)
    script.ingest(script.one)
    first, second = (Command(RESCHEDULE, f"cmd-{n}", "job-0", run_at=60.0 + n) for n in (1, 2))
    world.commands += [first, second]
    front.to_spool(first, Always(0.5), now=world.now)
    front.keep_behind(second, Always(0.5), now=world.now)
    script.ingest(script.one)
    while front.spool:
        script.step(lambda: front.drain(script.rng, now=world.now, well=True))
        script.ingest(script.one)


OUTSIDE: dict[str, Callable[[Script], None]] = {
    "a job that moves": a_job_that_moves,
    "a send in vain": a_send_in_vain,
    "two orders of one job": two_orders_of_one_job,
    "more rows than a round brings": more_rows_than_a_round_brings,
    "a promise in the spool": a_promise_in_the_spool,
    "an output that waits": an_output_that_waits,
}
