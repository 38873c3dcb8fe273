"""What happens next: by chance, with faults, and then in peace until everything has come to its end."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.protocol import asking, checks, consuming, working
from tests.protocol.database import Broken
from tests.protocol.executor import Process
from tests.protocol.relay import relay
from tests.protocol.world import World

RECOVERED_S = 150
"""Most walks need 30 s: a lease, the pause of an epoch, retries, and what waits for its time or its parent."""


def do(world: World, name: str, rng: Random) -> None:
    """One thing happens, and every invariant is looked at."""
    world.steps += 1
    OPERATIONS[name](world, rng)
    checks.check_always(world)


def settle_down(world: World) -> None:
    """The faults end; everything must come to its end by itself, but for what an operator decides."""
    rng = Random(0)
    for process in world.processes:
        process.cut_off = False
        if process.frozen:
            wake(world, process, rng)
        if process.down:
            process.start()
    for number in range(300):
        _calm_round(world, rng, number)
        if number % 10 == 9 and checks.is_quiet(world):
            break
    checks.check_end(world)
    if number >= RECOVERED_S:
        raise Broken("I15", f"it took {number} s to come to an end after the last fault")


def _calm_round(world: World, rng: Random, number: int) -> None:
    world.steps += 1
    while world.front.late:
        world.front.deliver_late(rng, now=world.now)
    while number > 20 and world.late_events:
        world.publish_late(rng)
    world.front.drain(rng, now=world.now, well=True)
    world.rewind()
    world.tick(1.0)
    for process in world.processes:
        if not process.connect():
            world.recover()
            continue
        working.commit_slow(world, process, rng)
        consuming.fetch(world, process, rng)
        consuming.apply(world, process, rng, well=True)
        working.beat(world, process, rng, well=True)
        working.claim(world, process, rng, well=True)
        working.tool_ends(world, process, rng, well=True)
        working.finish(world, process, rng, well=True)
        working.fire_timers(world, process)
        if number % 2:
            working.reap(world, process, rng, well=True)
        relay(world, process, rng, well=True)
    world.sweep()
    world.project(rng, well=True)
    world.shelf.sweep(world, rng, well=True)
    checks.check_always(world)


Operation = Callable[[World, Random], None]


def _of_process(act: Callable[[World, Process, Random], None]) -> Operation:
    """A step of a process that lives and reaches its database."""

    def run(world: World, rng: Random) -> None:
        process = world.processes[rng.randrange(len(world.processes))]
        if process.down or process.frozen or not process.connect():
            return
        before = process.db.outbox_id
        act(world, process, rng)
        if process.connected and rng.random() < 0.9:
            made = [number for number in range(before + 1, process.db.outbox_id + 1) if number in process.db.outbox]
            process.keep(made, [process.db.outbox[number] for number in made])

    return run


def _kill(world: World, rng: Random) -> None:
    process = world.processes[rng.randrange(len(world.processes))]
    if process.down:
        process.start()
        return
    process.kill()
    world.gone(process)


def _freeze(world: World, rng: Random) -> None:
    process = world.processes[rng.randrange(len(world.processes))]
    if process.frozen:
        wake(world, process, rng)
    elif not process.down:
        process.freeze()


def wake(world: World, process: Process, rng: Random) -> None:
    """A frozen process goes on. Its tools may have ended meanwhile, and which of its tasks runs first is chance."""
    process.frozen = False
    if rng.random() < 0.5:
        working.tool_ends(world, process, rng)
        working.finish(world, process, rng)
    if rng.random() < 0.5:
        before = set(process.running)
        process.dispatch()
        if process.running - before:
            checks.check_overlap(world, started=process)
    process.check_trust()
    process.dispatch()


def _part(world: World, rng: Random) -> None:
    """A process and its database lose each other for a while, or find each other again."""
    process = world.processes[rng.randrange(len(world.processes))]
    process.cut_off = not process.cut_off
    process.disconnect()
    world.unlock(process)


def _cut(world: World, rng: Random) -> None:
    process = world.processes[rng.randrange(len(world.processes))]
    process.disconnect()
    world.unlock(process)
    left = world.left_behind
    knows = process.held_until is not None and process.held_until.epoch == world.db.epoch
    if knows and left is not None and left.epoch < world.db.epoch and rng.random() < 0.3:
        # The server that was left behind still answers; whoever knows better must not listen.
        process.connect(stale=True)


OPERATIONS: dict[str, Operation] = {
    "submit": World.submit,
    "order": World.order,
    "late copy": lambda world, rng: world.front.deliver_late(rng, now=world.now),
    "drain": lambda world, rng: world.front.drain(rng, now=world.now, well=False),
    "fetch": _of_process(consuming.fetch),
    "apply": _of_process(consuming.apply),
    "claim": _of_process(working.claim),
    "tool ends": _of_process(working.tool_ends),
    "finish": _of_process(working.finish),
    "commit slow": _of_process(working.commit_slow),
    "beat": _of_process(working.beat),
    "reap": _of_process(working.reap),
    "timers": _of_process(lambda world, process, _rng: working.fire_timers(world, process)),
    "relay": _of_process(relay),
    "project": World.project,
    "tick": lambda world, rng: world.tick(rng.choice((0.5, 1.0, 2.0))),
    "long tick": lambda world, rng: world.tick(rng.choice((4.0, 9.0))),
    "kill": _kill,
    "freeze": _freeze,
    "cut": _cut,
    "part": _part,
    "late event": World.publish_late,
    "back up": lambda world, _rng: world.back_up(),
    "fail over": lambda world, rng: world.fail_over(by_hand=rng.random() < 0.3),
    "lose records": World.lose_records,
    "rewind": lambda world, _rng: world.rewind(),
    "clock step": lambda world, rng: world.step_clock(rng.choice((-20.0, 20.0))),
    "prune": lambda world, _rng: world.prune(),
    "sweep": lambda world, _rng: world.sweep(),
    "ask": asking.ask,
    "delete file": lambda world, rng: world.shelf.delete(rng),
    "sweep files": lambda world, rng: world.shelf.sweep(world, rng),
}
OFTEN = {
    "submit": 5, "order": 4, "late copy": 2, "drain": 3, "fetch": 9, "apply": 9, "claim": 8, "tool ends": 6,
    "finish": 6, "commit slow": 3, "beat": 7, "reap": 3, "timers": 3, "relay": 7, "project": 4, "tick": 9, "freeze": 2,
    "kill": 1, "cut": 1, "long tick": 1, "back up": 1, "fail over": 1, "lose records": 1, "rewind": 2, "clock step": 1,
    "prune": 1, "sweep": 1, "part": 2, "late event": 2, "ask": 5, "delete file": 1, "sweep files": 2,
}  # fmt: skip
CHOICES = [name for name, weight in OFTEN.items() for _ in range(weight)]


def walk(world: World, rng: Random, *, steps: int) -> None:
    """At random, until the steps are done or something breaks."""
    for _ in range(steps):
        do(world, CHOICES[rng.randrange(len(CHOICES))], rng)
