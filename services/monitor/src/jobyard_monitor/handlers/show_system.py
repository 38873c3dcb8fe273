"""How the whole is, right now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from jobyard_common.db.connection import Pool
from jobyard_common.runtime.clock import Clock

from jobyard_monitor.domain.system import Answer, ServiceView, Status, late, overall, services
from jobyard_monitor.store import services as store
from jobyard_monitor.store.reading import reading

Ask = Callable[[str], Awaitable[Answer]]
OURSELVES = "monitor"


@dataclass(frozen=True)
class System:
    status: Status
    services: tuple[ServiceView, ...]
    at: datetime


async def show_system(pool: Pool, *, ask: Ask, clock: Clock) -> System:
    """Beats first; services that missed one are asked, all at once."""
    async with reading(pool) as connection:
        beats = await store.every(connection)
    missed = sorted(late(beats, now=clock.now()) - {OURSELVES})
    answers = dict(zip(missed, await asyncio.gather(*(ask(name) for name in missed)), strict=True))
    answers[OURSELVES] = Answer.ALIVE
    now = clock.now()
    views = services(beats, answers, now=now)
    return System(overall(views), views, now)
