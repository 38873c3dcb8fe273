"""Queues and workers, as operators see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from jobyard_executor.domain.snapshot import moment
from jobyard_executor.store import reading, sessions

TOOL_QUEUES = "SELECT definition FROM tool_version WHERE NOT retired"


class _Named(msgspec.Struct):
    """What a tool's definition says of its queue."""

    queue: str = "default"


async def queues(connection: Any) -> list[dict[str, object]]:
    """Every queue that a tool, a job or an operator named."""
    waiting = {row["queue"]: row for row in await connection.fetch(reading.QUEUES)}
    running = {row["queue"]: row["n"] for row in await connection.fetch(reading.RUNNING)}
    paused = {row["name"]: row["paused"] for row in await connection.fetch(reading.PAUSED)}
    named = {"default", *waiting, *running, *paused}
    for row in await connection.fetch(TOOL_QUEUES):
        named.add(msgspec.json.decode(row[0], type=_Named).queue)
    now = datetime.now(UTC)
    found: list[dict[str, object]] = []
    for name in sorted(named):
        first = waiting.get(name)
        age = max(0.0, (now - first["oldest"]).total_seconds()) if first and first["oldest"] else None
        found.append(
            {
                "name": name,
                "paused": paused.get(name, False),
                "depth": {"queued": first["depth"] if first else 0, "running": running.get(name, 0)},
                "oldest_age_s": age,
            }
        )
    return found


async def workers(connection: Any) -> list[dict[str, object]]:
    return [
        {
            "id": row["session"],
            "instance": row["instance"],
            "host": row["host"],
            "pid": row["pid"],
            "alive": row["alive"],
            "started_at": moment(row["started_at"]),
            "beat_at": moment(row["beat_at"]),
            "tools": row["tools"],
            "levels": row["levels"],
            "slots": msgspec.Raw(row["slots"].encode()),
            "running": row["running"],
        }
        for row in await connection.fetch(sessions.VIEW)
    ]
