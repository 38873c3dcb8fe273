"""Whose turn it is: claimers that walk over the lanes of a flood, with the product's cursors, plan and fairness.

A world of its own: what it needs of the rest of the protocol is that a limit's row is locked while its leases are
counted. It counts in claims and in probes of the index, never in seconds.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple

from jobyard_executor.domain import fairness, plan
from jobyard_executor.domain.cursors import FEW, Cursors
from jobyard_executor.domain.lane import AFTER, AFTER_QUEUE, SEPARATOR, Lane, flow_of, parse
from jobyard_executor.store.claiming import MAX_FLOWS, MAX_LANES

from tests.protocol.database import ORIGIN, Broken

SLOTS, SPREAD = 2, 150
LONGEST_WAIT = 10
"""Claims until a lone job of a small tenant starts: a walk around the flood, and a turn for each."""
MOST_PROBES = 2 * (FEW + MAX_LANES + 2 * MAX_FLOWS + 20)
"""Of the index, in one claim, however many wait."""
parsed = lru_cache(maxsize=None)(parse)


class Step(NamedTuple):
    """`claiming.Found`."""

    queue: str
    flow: str
    lane: str | None


@dataclass
class Turns:
    """The answers that a mutant may change."""

    tree: Callable[[], fairness.FairTree] = fairness.FairTree
    cursors: Callable[..., Cursors] = Cursors
    plan: Callable[..., plan.Plan] = plan.plan
    look: Callable[..., tuple[list[Step], int]] = field(default_factory=lambda: steps)


class Claimer:
    def __init__(self, rules: Turns) -> None:
        self.cursors = rules.cursors(most_flows=MAX_FLOWS, most_lanes=MAX_LANES)
        self.tree = rules.tree()


class Yard:
    """A flood over many concurrency keys, one over many fairness keys, a tenant that slept and wakes with much, and
    small ones with one job at a time."""

    def __init__(self, rules: Turns) -> None:
        self.rules = rules
        self.ready: dict[str, list[int]] = {}
        self.texts: list[str] = []
        self.number = 0
        self.leases: list[Lane] = []
        self.claimers = [Claimer(rules), Claimer(rules)]
        self.waits = {"tnt_wide": 0}
        """Claims since a tenant that has work was served."""
        self.longest = self.probes = 0
        for number in range(SPREAD):
            for _ in range(4):
                self.arrive("tnt_flood", concurrency=f"k{number}")
                self.arrive("tnt_wide", fairness=f"f{number}")

    def arrive(self, tenant: str, *, fairness: str = "", concurrency: str = "") -> str:
        flow = f"default/{tenant}/{fairness}"
        text = SEPARATOR.join((flow, "async", "L0", "test.noop", "1", concurrency))
        if text not in self.ready:
            self.ready[text] = []
            insort(self.texts, text)
        self.number += 1
        self.ready[text].append(self.number)
        return text

    def small(self, rng: Random) -> None:
        tenant = f"tnt_z{rng.randrange(5)}"
        if tenant not in self.waits:
            self.arrive(tenant)
            self.waits[tenant] = 0

    def end(self, rng: Random) -> None:
        for _ in range(min(SLOTS, len(self.leases))):
            self.leases.pop(rng.randrange(len(self.leases)))

    def room(self) -> dict[str, int]:
        """`claiming.room`: a concurrency key runs one job at a time."""
        used = Counter(lane.limits()[-1] for lane in self.leases if lane.concurrency)
        return {
            key: 1 - used[key] for key in (parsed(text).limits()[-1] for text in self.texts) if key.startswith("key:")
        }

    def claim(self, claimer: Claimer) -> None:
        """`Claimer._claim`."""
        found: list[Step] = []
        probes = 0
        for _ in range(2):
            begun = claimer.cursors.begun
            found, more = self.rules.look(self, claimer.cursors)
            probes += more
            if any(row.lane for row in found) or not begun:
                break
        waiting = [
            plan.Waiting(row.lane, parsed(row.lane), ORIGIN + timedelta(seconds=self.ready[row.lane][0]))
            for row in found if row.lane is not None
        ]  # fmt: skip
        taken = self.take(self.rules.plan(waiting, free={"async": SLOTS}, room=self.room(), tree=claimer.tree))
        claimer.tree.charge(Counter(lane.path for lane in taken))
        self.leases += taken
        served = {lane.tenant for lane in taken}
        self.waits = {tenant: waited + 1 for tenant, waited in self.waits.items() if tenant not in served}
        if "tnt_wide" in served:
            self.waits["tnt_wide"] = 0
        self.longest = max([self.longest, *self.waits.values()])
        self.probes = max(self.probes, probes)
        self.check()

    def take(self, made: plan.Plan) -> list[Lane]:
        """`claiming.PICK`: the oldest of each group, as many as its share."""
        groups: dict[int, list[tuple[int, str]]] = {}
        for order in made.orders:
            groups.setdefault(order.group, []).extend((at, order.lane) for at in self.ready[order.lane][: order.quota])
        taken = []
        for group, candidates in groups.items():
            for _, text in sorted(candidates)[: made.shares[group]]:
                self.ready[text].pop(0)
                taken.append(parsed(text))
                if not self.ready[text]:
                    del self.ready[text]
                    self.texts.remove(text)
        return taken

    def check(self) -> None:
        running = Counter(lane.limits()[-1] for lane in self.leases if lane.concurrency)
        if running and max(running.values()) > 1:
            raise Broken("I12", f"{running.most_common(1)} run under a limit of 1")
        if self.probes > MOST_PROBES:
            raise Broken("A15", f"a claim took {self.probes} probes, with {sum(map(len, self.ready.values()))} waiting")
        if self.longest > LONGEST_WAIT:
            raise Broken("I12", f"a tenant has waited for {self.longest} claims")


def run(rules: Turns, *, steps: int, seed: int) -> Yard:
    rng, yard = Random(seed), Yard(rules)
    for number in range(steps):
        if number == steps // 2:
            for _ in range(steps):
                yard.arrive("tnt_sleeper")
        fate = rng.random()
        if fate < 0.15:
            yard.small(rng)
        elif fate < 0.3:
            yard.end(rng)
        elif fate < 0.4:
            yard.arrive("tnt_flood", concurrency=f"k{rng.randrange(SPREAD)}")
            yard.arrive("tnt_wide", fairness=f"f{rng.randrange(SPREAD)}")
        else:
            yard.claim(yard.claimers[rng.randrange(2)])
    return yard


def steps(yard: Yard, cursors: Cursors) -> tuple[list[Step], int]:
    """`claiming.FIRST_LANES` and `claiming.LANES` as `Walk.step` asks for them, and the probes of the index."""
    if cursors.few:
        found = [Step("default", flow_of(text), text) for text in yard.texts[:FEW]]
        if len(found) < FEW:
            return found, len(found) + 1
    rows, probes = lanes(
        yard.texts, flows_after=cursors.flows_after, lanes_after=cursors.lanes_after, flows=cursors.flows,
        lanes=cursors.lanes,
    )  # fmt: skip
    cursors.move(rows)
    return rows, probes + (FEW if cursors.few else 0)


def lanes(
    texts: list[str], *, flows_after: dict[str, str], lanes_after: dict[str, str], flows: int, lanes: int
) -> tuple[list[Step], int]:
    """`claiming.LANES`: each step of it is one probe, however much lies between. `texts` are sorted."""
    rows: list[Step] = []
    probes = 0

    def after(text: str) -> str | None:
        nonlocal probes
        probes += 1
        place = bisect_right(texts, text)
        return texts[place] if place < len(texts) else None

    text = after("")
    while text is not None:
        queue = text.split("/", 1)[0]
        found = after(flows_after.get(queue, f"{queue}/"))
        for _ in range(flows):
            if found is None or found >= queue + AFTER_QUEUE:
                break
            flow = flow_of(found)
            lane = after(lanes_after.get(flow, flow + SEPARATOR))
            if lane is None or lane >= flow + AFTER:
                rows.append(Step(queue, flow, None))
            for _ in range(lanes):
                if lane is None or lane >= flow + AFTER:
                    break
                rows.append(Step(queue, flow, lane))
                lane = after(lane)
            found = after(flow + AFTER)
        text = after(queue + AFTER_QUEUE)
    return rows, probes


def whole_lanes(yard: Yard, cursors: Cursors) -> tuple[list[Step], int]:
    """Looks through all that wait, as a query without lanes does."""
    return [Step("default", flow_of(text), text) for text in yard.texts], sum(map(len, yard.ready.values()))


class Careless(fairness.FairTree):
    """Charges nobody."""

    def charge(self, started: Any) -> None:
        pass


class Sleepers(fairness.FairTree):
    """Who slept has saved up turns."""

    def time(self, path: fairness.Path) -> float:
        return self._used.get(path, 0.0)


class Rooted(Cursors):
    """Begins every walk at the beginning."""

    def move(self, found: Any) -> None:
        super().move(found)
        self.flows_after, self.lanes_after = {}, {}


def limitless(waiting: Any, *, room: Any, **given: Any) -> plan.Plan:
    return plan.plan(waiting, room={}, **given)
