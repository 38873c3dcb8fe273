"""What the door asks: how many jobs wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
from jobyard_executor.store.admission import WaitingCounts

Play = Callable[[Any], None]


def test_waiting_jobs_are_counted_by_tenant_and_queue(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        now = [0.0]
        counts = WaitingCounts(bench.pool, monotonic=lambda: now[0])
        empty = await counts.now()
        assert (empty.by_tenant, empty.by_queue, empty.limits) == ({}, {}, {})
        await bench.pool.execute("INSERT INTO queue (name, max_waiting) VALUES ('default', 7)")
        later = bench.submit(run_at=bench.clock.now() + timedelta(hours=1))
        other = msgspec.structs.replace(bench.submit(), tenant="tnt_other")
        await bench.apply(later, bench.submit(), bench.submit(), other)
        assert (await counts.now()).number == empty.number, "kept for a while"
        now[0] += 60
        found = await counts.now()
        assert found.number == empty.number + 1
        assert found.by_queue == {"default": 3}
        assert sorted(found.by_tenant.values()) == [1, 2]
        assert found.limits == {"default": 7}

    play(scenario)
