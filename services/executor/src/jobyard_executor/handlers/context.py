"""What every use case of the engine is given: time, chance, names, and what it must wake when it is durable."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

import msgspec
from jobyard_common.contracts.jobs import Actor, ActorKind
from jobyard_common.db.connection import Connection
from jobyard_common.runtime.clock import Clock
from jobyard_common.telemetry.tracing import Tracer

from jobyard_executor.domain.flow import FlowMeter
from jobyard_executor.domain.job import Job
from jobyard_executor.domain.newborn import Newborns
from jobyard_executor.domain.run_memory import RunMemory
from jobyard_executor.handlers.room import Room
from jobyard_executor.store.write import Keep, Write

SYSTEM = msgspec.json.encode(Actor(ActorKind.SYSTEM, "executor")).decode()


def nothing() -> None:
    """Nobody needs to be woken."""


async def no_runs(_engine: Engine, _connection: Connection, _ended: Sequence[Job]) -> bool:
    """An engine whose jobs belong to no workflow."""
    return False


@dataclass
class Engine:
    """`source` is the CloudEvents source of our events; `known_tools` those that some executor registered."""

    clock: Clock
    tracer: Tracer
    instance: str
    cell: str = "00"
    keyed_life: timedelta = timedelta(days=37)
    unknown_parent_after: timedelta = timedelta(minutes=10)
    dice: random.Random = field(default_factory=random.Random)
    known_tools: set[tuple[str, str]] = field(default_factory=set)
    flow: FlowMeter = field(default_factory=FlowMeter)
    wake_claim: Callable[[], None] = nothing
    wake_relay: Callable[[], None] = nothing
    wake_runs: Callable[[], None] = nothing
    advance_runs: Callable[[Engine, Connection, Sequence[Job]], Awaitable[bool]] = no_runs
    run_memory: RunMemory = field(default_factory=RunMemory)
    room: Room = field(default_factory=Room)
    newborns: Newborns = field(default_factory=Newborns)
    started: int = 0
    """Attempts since this process began."""
    keep_records: Keep = lambda _ids, _records: None
    stop_running: Callable[[str, int], None] = lambda _job_id, _fence: None

    @property
    def source(self) -> str:
        return "/jobyard/executor"

    @cached_property
    def worker_actor(self) -> str:
        return msgspec.json.encode(Actor(ActorKind.WORKER, self.instance)).decode()

    def write(self, epoch: int) -> Write:
        return Write(epoch=epoch, source=self.source, keep=self.keep_records, came=self.flow.came)
