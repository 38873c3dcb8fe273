"""One pool a service, with deadlines on everything that could wait for ever."""

from __future__ import annotations

import asyncpg

SETTINGS = {
    "timezone": "UTC",
    "jit": "off",
    # Prepared statements guess LIMIT $1 and may choose a scan over the whole table.
    "plan_cache_mode": "force_custom_plan",
    # A frozen process must not hold its successor for longer than this.
    "idle_in_transaction_session_timeout": "5000",
    "lock_timeout": "10000",
}


async def create_pool(
    dsn: str, *, application_name: str, max_size: int = 8, command_timeout_s: float = 30.0
) -> asyncpg.Pool:
    """A pool that connects when it is first used, so that a service starts while its database is away."""
    return await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=max_size,
        max_inactive_connection_lifetime=120,
        command_timeout=command_timeout_s,
        timeout=5,
        server_settings={**SETTINGS, "application_name": application_name},
    )
