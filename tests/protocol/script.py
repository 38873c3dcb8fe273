"""A world in which things happen in the order given."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.protocol import checks, consuming, working
from tests.protocol.bus import SUBMIT, Command
from tests.protocol.executor import Process
from tests.protocol.world import World


class Always(Random):
    """Every toss falls the same way."""

    def __init__(self, value: float) -> None:
        super().__init__(7)
        self._value = value

    def random(self) -> float:
        return self._value


class Script:
    """A world in which things happen in the order given, and well unless it says otherwise."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.one, self.two = world.processes
        self.rng = Random(7)

    def step(self, act: Callable[[], object]) -> None:
        self.world.steps += 1
        act()
        checks.check_always(self.world)

    def promised(self, name: str, *, parent: str | None = None, run_at: float | None = None) -> None:
        """A submit that Kafka has."""
        made = Command(SUBMIT, f"cmd-{name}", name, "body", run_at, parent)
        world = self.world
        world.commands.append(made)
        world.front.first_sent[name] = world.now
        world.front.promised[made.command_id] = len(world.front.promised)
        self.step(lambda: world.log.append(made, at=world.now))

    def spooled(self, name: str) -> Command:
        """A submit that Kafka did not take, and the spool did."""
        made, world = Command(SUBMIT, f"cmd-{name}", name, "body"), self.world
        world.commands.append(made)
        world.front.first_sent[name] = world.now
        while made.command_id not in world.front.promised:
            world.front.to_spool(made, self.rng, now=world.now)
        return made

    def ingest(self, process: Process, *, rounds: int = 6) -> None:
        for _ in range(rounds):
            self.fetch(process)
            self.step(lambda: consuming.apply(self.world, process, self.rng, well=True))

    def fetch(self, process: Process) -> None:
        assert process.connect()
        self.step(lambda: consuming.fetch(self.world, process, self.rng))

    def claim(self, process: Process) -> None:
        if process.connect():
            self.step(lambda: working.claim(self.world, process, self.rng, well=True))

    def reap(self, process: Process) -> None:
        if process.connect():
            self.step(lambda: working.reap(self.world, process, self.rng, well=True))

    def beat(self, process: Process) -> None:
        if process.connect():
            self.step(lambda: working.beat(self.world, process, self.rng, well=True))

    def keeps(self, process: Process, act: Callable[[], object]) -> None:
        """What `act` writes stays in the memory of its relay."""
        before = process.db.outbox_id
        act()
        made = list(range(before + 1, process.db.outbox_id + 1))
        process.keep(made, [process.db.outbox[number] for number in made])

    def tick(self, seconds: float = 1.0) -> None:
        self.step(lambda: self.world.tick(seconds))

    def others_take_over(self, process: Process, *, rounds: int = 14) -> None:
        """Time passes, and `process` reaps and claims."""
        for _ in range(rounds):
            self.tick()
            self.reap(process)
            self.beat(process)
            self.claim(process)
