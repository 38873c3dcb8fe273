"""What an isolation costs over the bare thing: a warm child over a call, a sandboxed command over fork and exec."""

from __future__ import annotations

import json
import statistics
import subprocess
import time

from tests.load.rates import Rates, fresh_tag, submit


async def one_by_one(rates: Rates, tool: str, *, jobs: int) -> float:
    """Median milliseconds from the submit to the ended job, one at a time, by `Prefer: wait`."""
    found = []
    body = json.dumps({**submit(fresh_tag("one")), "tool": tool}).encode()
    async with rates.connection() as connection:
        for number in range(jobs + 3):
            began = time.perf_counter()
            status, answer = await connection.call("POST", "/v1/jobs", body, headers=b"Prefer: wait=30\r\n")
            if status != 200:
                raise ValueError(f"{tool}: {status} {answer[:200]!r}")
            if number >= 3:
                found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)


def fork_and_exec(times: int) -> float:
    """Median milliseconds of what `test.noop.command` runs, without us."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(["/bin/sh", "-c", "exit 0"], check=True)
        found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)
