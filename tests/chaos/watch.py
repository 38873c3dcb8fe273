"""What is sampled while the run goes on, on a connection past the proxies."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from pathlib import Path

import asyncpg
import httpx

from tests.chaos.stage import Stage

EVERY_S = 0.25
LEASES = "SELECT concurrency, count(*) AS n FROM executor.lease WHERE concurrency IS NOT NULL GROUP BY 1"
ENDED = "SELECT count(*) FROM executor.job_done"
UNFINISHED = "SELECT count(*) FROM executor.job WHERE state NOT IN ('succeeded', 'failed', 'cancelled', 'expired')"


class Watch:
    """`most` = most leases at once by concurrency key; `ended` = (the loop's time, jobs ended until then)."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.most: dict[str, int] = defaultdict(int)
        self.ended: list[tuple[float, int]] = []

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await self._sample()
            await asyncio.sleep(EVERY_S)

    async def _sample(self) -> None:
        connection = await asyncpg.connect(self._stage.ground.postgres, timeout=2, command_timeout=5)
        try:
            while True:
                for row in await connection.fetch(LEASES):
                    self.most[row["concurrency"]] = max(self.most[row["concurrency"]], row["n"])
                self.ended.append((asyncio.get_running_loop().time(), await connection.fetchval(ENDED)))
                await asyncio.sleep(EVERY_S)
        finally:
            connection.terminate()

    def ended_between(self, start: float, end: float) -> int:
        before = max((count for at, count in self.ended if at <= start), default=0)
        return max((count for at, count in self.ended if at <= end), default=0) - before


async def all_ended(stage: Stage, *, timeout_s: float = 60.0) -> bool:
    """Wait until the executor knows no unfinished job; whether that came to pass."""
    deadline = time.monotonic() + timeout_s
    connection = await asyncpg.connect(stage.ground.postgres, timeout=5)
    try:
        left = 1
        while left and time.monotonic() < deadline:
            left = await connection.fetchval(UNFINISHED)
            await asyncio.sleep(0.05)
        return not left
    finally:
        await connection.close()


async def foreign_reads(stage: Stage, job_ids: list[str]) -> dict[str, int]:
    """What another tenant gets for these jobs."""
    own = {"Authorization": f"Bearer {stage.key}"}
    async with httpx.AsyncClient(base_url=stage.cast.url("gateway-1"), timeout=15, trust_env=False) as http:
        made = (await http.post("/v1/tenants", json={"name": "another"}, headers=own)).raise_for_status()
        body = {"tenant_id": made.json()["id"], "name": "another"}
        minted = (await http.post("/v1/api-keys", json=body, headers=own)).raise_for_status()
        other = {"Authorization": f"Bearer {minted.json()['key']}"}
        return {job_id: await _status(http, f"/v1/jobs/{job_id}", other) for job_id in job_ids}


async def _status(http: httpx.AsyncClient, path: str, headers: dict[str, str]) -> int:
    """Asked again while nobody can tell: a 404 is only said behind everything that was promised."""
    status = 503
    for _ in range(20):
        status = (await http.get(path, headers=headers)).status_code
        if status != 503:
            break
        await asyncio.sleep(1)
    return status


def leaks(home: Path, secrets: list[str]) -> list[str]:
    """Logs of services and servers, and segments of topics (which are not compressed), that hold one of these."""
    wanted = [secret.encode() for secret in secrets]
    found = []
    for path in [*(home / "logs").glob("*.log"), *(home / "kafka" / "data").rglob("*.log")]:
        text = path.read_bytes()
        found += [str(path.relative_to(home)) for secret in wanted if secret in text]
    return found
