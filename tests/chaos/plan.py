"""Which fault happens when, to whom and for how long: a pure function of the seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.support.proxy import Mode

BEFORE_S = 10.0
"""Undisturbed load before the first burst."""
BURST_S = 20.0
QUIET_S = 40.0
FREEZE_S = (3.6, 5.5)
"""Longer than the lease of 3 s."""
HITS = 22
WIRES = 4
BACKENDS = ("postgres", "valkey", "kafka")


class Kind(StrEnum):
    KILL = "kill"
    FREEZE = "freeze"
    """The service's process and everything that it started, as when a virtual machine is paused."""
    FREEZE_ALONE = "freeze_alone"
    """Only the service's own process: what it started goes on."""
    WIRE = "wire"
    BACKEND = "backend"
    DISK_FULL = "disk_full"
    CLOCK_STEP = "clock_step"


@dataclass(frozen=True)
class Fault:
    """`at_s` and `for_s` in seconds from the start of the load; `detail` is the wire's mode or the clock's step."""

    at_s: float
    kind: Kind
    target: str
    for_s: float = 0.0
    detail: str = ""


def bursts_in(minutes: float) -> int:
    """A burst with its quiet takes a minute; the last quiet is never cut short."""
    return max(1, int(minutes))


def length_s(bursts: int) -> float:
    return BEFORE_S + bursts * (BURST_S + QUIET_S)


def windows(bursts: int) -> list[tuple[float, float]]:
    """Begin and end of each burst."""
    starts = [BEFORE_S + number * (BURST_S + QUIET_S) for number in range(bursts)]
    return [(start, start + BURST_S) for start in starts]


def make_plan(
    seed: int, *, bursts: int, services: Sequence[str], small_disk: bool, clocks: Sequence[str]
) -> list[Fault]:
    """Every fault of a run, by time. `small_disk` says whether there is one, `clocks` are those that can step."""
    dice = random.Random(seed)
    plan: list[Fault] = []
    for start, end in windows(bursts):
        plan += _hits(dice, start, end, services)
        plan += _wires(dice, start, end, services)
        plan += _backends(dice, start)
        if small_disk:
            plan.append(Fault(start + dice.uniform(2, 12), Kind.DISK_FULL, "small disk", dice.uniform(3, 6)))
        if clocks:
            step = dice.choice((-600, -60, 60, 600))
            plan.append(Fault(start + dice.uniform(1, 18), Kind.CLOCK_STEP, dice.choice(clocks), 0.0, str(step)))
    return sorted(plan, key=lambda fault: fault.at_s)


def _hits(dice: random.Random, start: float, end: float, services: Sequence[str]) -> list[Fault]:
    """Kills and freezes, spread over the burst; nobody is hit while it stands still."""
    busy = dict.fromkeys(services, 0.0)
    found = []
    for number in range(HITS):
        at = start + (number + dice.random()) * (end - start) / HITS
        target = dice.choice([name for name in services if busy[name] <= at] or list(services))
        long = dice.uniform(*FREEZE_S)
        if dice.random() < 0.6 or at + long > end + 2:
            found.append(Fault(at, Kind.KILL, target))
            busy[target] = at + 0.8
        else:
            kind = dice.choice((Kind.FREEZE, Kind.FREEZE, Kind.FREEZE_ALONE))
            found.append(Fault(at, kind, target, long))
            busy[target] = at + long + 0.2
    return found


def _wires(dice: random.Random, start: float, end: float, services: Sequence[str]) -> list[Fault]:
    """What can happen between one service and one server."""
    modes = (Mode.RESET, Mode.BLACK_HOLE, Mode.DELAY, Mode.HALF_OPEN, Mode.ONE_WAY)
    found = []
    for _ in range(WIRES):
        wire = f"{dice.choice(services)}>{dice.choice(('kafka', 'postgres'))}"
        mode = dice.choice(modes)
        long = 0.2 if mode is Mode.RESET else dice.uniform(2, 6)
        found.append(Fault(min(start + dice.uniform(0, 17), end - long), Kind.WIRE, wire, long, mode))
    return found


def _backends(dice: random.Random, start: float) -> list[Fault]:
    """PostgreSQL once in every burst, one or two of the others beside it: two at the least."""
    others = dice.sample(("valkey", "kafka"), dice.choice((1, 2)))
    times = [dice.uniform(1, 4), dice.uniform(7, 10), dice.uniform(12, 15)]
    names = ["postgres", *others]
    dice.shuffle(names)
    return [Fault(start + at, Kind.BACKEND, name) for at, name in zip(times, names, strict=False)]
