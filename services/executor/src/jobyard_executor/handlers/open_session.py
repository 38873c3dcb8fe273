"""Open a worker session: from here on leases may be taken in its name, for as long as it beats."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import msgspec
from jobyard_common.db.connection import Pool

from jobyard_executor.handlers.claim import Claimer
from jobyard_executor.store import sessions


async def open_session(
    pool: Pool,
    session: str,
    identity: sessions.Identity,
    claimer: Claimer,
    *,
    ttl: timedelta,
    free: Mapping[str, int],
) -> None:
    """Store the session with what its worker offers: tools, proven levels, slots."""
    async with pool.acquire() as connection:
        await sessions.open_session(
            connection,
            session,
            identity,
            ttl=ttl,
            tools=sorted(f"{name}@{version}" for name, version in claimer.tools),
            levels=sorted(claimer.levels),
            slots=msgspec.json.encode(dict(free)).decode(),
            offer=sessions.Offer(claimer.version, claimer.roles, claimer.queues.told()),
        )
