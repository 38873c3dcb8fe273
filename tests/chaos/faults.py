"""Doing what the plan says, and writing down when it was really done."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.chaos.checker import Spell
from tests.chaos.plan import Fault, Kind
from tests.chaos.stage import Stage, send
from tests.support.processes import tree
from tests.support.proxy import Mode

LEASE_S = 3.0
BALLAST = "ballast"


class Faults:
    """`counts` by kind; `spells` are the times in which a process could not know that its lease had ended."""

    def __init__(self, stage: Stage, log: Path) -> None:
        self._stage = stage
        self._log = log
        self.counts: Counter[Kind] = Counter()
        self.spells: list[Spell] = []

    async def play(self, plan: Sequence[Fault], *, began: float) -> None:
        """`began` is the loop's time at which the load started."""
        clock = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                await asyncio.sleep(max(0.0, began + fault.at_s - clock()))
                group.create_task(self._do(fault))

    async def _do(self, fault: Fault) -> None:
        started = time.time()
        match fault.kind:
            case Kind.KILL:
                done = self._kill(fault.target)
            case Kind.FREEZE | Kind.FREEZE_ALONE:
                done = await self._freeze(fault)
            case Kind.WIRE:
                done = await self._cut(fault)
            case Kind.BACKEND:
                done = self._end(fault.target)
            case Kind.DISK_FULL:
                done = await self._fill(fault)
            case Kind.CLOCK_STEP:
                done = self._step(fault)
        if done:
            self.counts[fault.kind] += 1
        with self._log.open("a") as file:
            file.write(json.dumps({"started": started, "ended": time.time(), "done": done, **asdict(fault)}) + "\n")

    def _kill(self, name: str) -> bool:
        kept = self._stage.cast.kept[name]
        if not kept.alive:
            return False
        send([kept.pid], signal.SIGKILL)
        return True

    async def _freeze(self, fault: Fault) -> bool:
        kept = self._stage.cast.kept[fault.target]
        if not kept.alive:
            return False
        pids = sorted(tree(kept.pid)) if fault.kind is Kind.FREEZE else [kept.pid]
        now = time.time()
        self.spells.append(Spell(fault.target, now, now + fault.for_s + LEASE_S))
        send(pids, signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.for_s)
        finally:
            send(pids, signal.SIGCONT)
        return True

    async def _cut(self, fault: Fault) -> bool:
        await self._stage.wires.set(fault.target, Mode(fault.detail))
        try:
            await asyncio.sleep(fault.for_s)
        finally:
            await self._stage.wires.set(fault.target, Mode.PASS)
        return True

    def _end(self, name: str) -> bool:
        """PostgreSQL's immediate stop is SIGQUIT to its first process; the others are killed."""
        kept = self._stage.servers[name]
        if not kept.alive:
            return False
        send([kept.pid], signal.SIGQUIT if name == "postgres" else signal.SIGKILL)
        return True

    async def _fill(self, fault: Fault) -> bool:
        if self._stage.disk is None:
            return False
        ballast = self._stage.disk / BALLAST
        descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            _take_all(descriptor)
            await asyncio.sleep(fault.for_s)
        finally:
            os.close(descriptor)
            ballast.unlink()
        return True

    def _step(self, fault: Fault) -> bool:
        self._stage.clock.write_text(fault.detail)
        return True


def _take_all(descriptor: int) -> None:
    """All the room that is left on the disk."""
    at, piece = 0, 1024 * 1024
    while piece >= 4096:
        try:
            os.posix_fallocate(descriptor, at, piece)
            at += piece
        except OSError:
            piece //= 2
