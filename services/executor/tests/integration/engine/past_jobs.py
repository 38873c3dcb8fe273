"""Jobs of the past, put into the tables as the engine would have left them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from jobyard_common.contracts.ids import new_id
from jobyard_executor.store import partitions

TENANT, OTHER = "tnt_test", "tnt_other"
WEEKS = timedelta(days=28)
LIVE = ("queued", "scheduled", "blocked", "running")
ENDED = ("succeeded", "succeeded", "succeeded", "failed", "cancelled")


async def past(bench: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Jobs as the engine would have left them; `rows` say how they differ."""
    async with bench.pool.acquire() as connection:
        await partitions.ensure(connection, now=bench.clock.now() - WEEKS, ahead=4, cell="00")
        tables: dict[str, tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...] | None]]] = {
            "job": (
                "job_id tenant state event_no born_ms created_at finished_at dead correlation_id traceparent actor "
                "spec schedule_id parent_id",
                lambda r: (
                    *(r["id"], r["tenant"], r["state"], 1, 1, r["at"], r["at"], r["dead"], r["correlation"], "t"),
                    *("{}", "{}", r["schedule"], r["parent"]),
                ),
            ),
            "job_list": (
                "job_id tenant created_at tool queue correlation_id labels parent_id",
                lambda r: (
                    *(r["id"], r["tenant"], r["at"], r["tool"], r["queue"], r["correlation"], r["labels"] or None),
                    r["parent"],
                ),
            ),
            "job_done": (
                "job_id tenant state created_at finished_at",
                lambda r: (r["id"], r["tenant"], r["state"], r["at"], r["at"]) if r["state"] in ENDED else None,
            ),
            "ready": (
                "job_id lane sort_at tenant",
                lambda r: (
                    (r["id"], f"default/{r['tenant']}/\x01a", r["at"], r["tenant"]) if r["state"] == "queued" else None
                ),
            ),
            "timer": (
                "job_id kind fire_at",
                lambda r: (r["id"], "start", r["at"] + 20 * WEEKS) if r["state"] == "scheduled" else None,
            ),
            "blocked": (
                "job_id tenant since",
                lambda r: (r["id"], r["tenant"], r["at"]) if r["state"] == "blocked" else None,
            ),
            "lease": (
                "job_id fence session claim_id tenant queue tool attempt started_at",
                lambda r: (r["id"], 1, "s", "c", r["tenant"], "q", "t", 1, r["at"])
                if r["state"] == "running"
                else None,
            ),
        }
        for table, (columns, row) in tables.items():
            found = [one for one in map(row, rows) if one is not None]
            await connection.copy_records_to_table(table, columns=columns.split(), records=found)


def some(number: int, *, of: int, now: datetime, dice: random.Random, **given: Any) -> dict[str, Any]:
    at = now - timedelta(hours=1) - WEEKS * ((of - number) / of)
    at = at.replace(microsecond=number % 1000)
    states = LIVE if dice.random() < 0.1 else ENDED
    row = {
        "id": new_id("job", now_ms=int(at.timestamp() * 1000)) if number % 7 else f"job_007{number:025d}",
        "tenant": OTHER if number % 11 == 0 else TENANT,
        "at": at,
        "state": dice.choice(states),
        "tool": dice.choice(["a.one", "a.two", "b.one"]),
        "queue": dice.choice(["default", "gpu"]),
        "labels": [label for label in ("t:x", "t:y", f"m:long={'z' * 3000}") if dice.random() < 0.3],
        "schedule": "sch_1" if number % 13 == 0 else None,
        "correlation": f"c{number % 50}",
        "parent": f"p{number % 40}" if number % 3 == 0 else None,
    }
    return row | {"dead": row["state"] == "failed" and number % 2 == 0} | given
