"""The client: submits, repeats and cancels, and writes down what it was told.

The load is open: submits come at their rate whatever becomes of those before. Each has an idempotency key and is
repeated, at any gateway, until it is answered by a 202, which is what a careful client does.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.chaos.journal import Journal
from tests.chaos.stage import Stage
from tests.chaos.watch import all_ended
from tests.load.client import Connection

CALL_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.3, 4.0
REPEATED, CANCELLED = 0.10, 0.05
RETRY = {"max_attempts": 3, "base_s": 0.5, "cap_s": 2}
Wheel = tuple[str, Callable[[random.Random, str], dict[str, Any]]]


def _count(dice: random.Random, marks: str) -> dict[str, Any]:
    return {"path": marks, "seconds": round(dice.uniform(0, 1.5), 3)}


MIX: tuple[tuple[int, Wheel], ...] = (
    (55, ("test.count", _count)),
    (15, ("test.echo", lambda dice, marks: {"value": dice.random()})),
    (12, ("test.flaky", lambda dice, marks: {"failures": dice.choice((1, 2))})),
    (10, ("test.count.process", _count)),
    (8, ("test.sleep", lambda dice, marks: {"seconds": dice.uniform(0.5, 2), "steps": 4})),
)


class Driver:
    """`rate` is jobs a second. `accepted` are the loop's times of first 202s."""

    def __init__(self, stage: Stage, journal: Journal, *, marks: Path, seed: int) -> None:
        self._stage = stage
        self._journal = journal
        self._marks = str(marks)
        self._dice = random.Random(f"driver {seed}")
        self._idle: dict[str, list[Connection]] = {}
        self._urls = [stage.cast.url(name) for name in ("gateway-1", "gateway-2")]
        self._tasks: set[asyncio.Task[None]] = set()
        self._n = 0
        self._patient = True
        self.accepted: list[float] = []
        self.submitted = 0

    async def run(self, rate: float, *, until: float) -> None:
        """Until the loop's clock says so; submits under way go on."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while due < until:
            await asyncio.sleep(max(0.0, due - clock()))
            self._spawn(self._one())
            due += self._dice.expovariate(rate)

    async def finish(self, *, timeout_s: float) -> None:
        """Wait for the submits under way; those that have no 202 by then are given up."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        self._patient = False
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CALL_S + 2)
        for connection in [one for idle in self._idle.values() for one in idle]:
            await connection.__aexit__()
        self._idle.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one(self) -> None:
        """A submit until its 202, perhaps once more, perhaps a cancel."""
        self._n += 1
        n, dice = self._n, self._dice
        self.submitted += 1
        tool, parameters = dice.choices([wheel for _, wheel in MIX], [weight for weight, _ in MIX])[0]
        body: dict[str, Any] = {
            "tool": tool,
            "parameters": parameters(dice, self._marks),
            "metadata": {"n": str(n)},
            "retry": RETRY,
        }
        if dice.random() < 0.05:
            body["concurrency_key"] = f"only-{dice.randrange(3)}"
        twice, cancel, later = dice.random() < REPEATED, dice.random() < CANCELLED, dice.uniform(0, 1)
        text, key = json.dumps(body).encode(), f"chaos-{secrets.token_hex(8)}"
        job_id = await self._submit(n, text, key)
        if job_id is None:
            return
        self.accepted.append(asyncio.get_running_loop().time())
        if twice:
            await self._submit(n, text, key)
        if cancel:
            await asyncio.sleep(later)
            await self._journal.write(do="cancel", n=n, job_id=job_id)
            status, _ = await self._call("POST", f"/v1/jobs/{job_id}/cancel")
            await self._journal.write(do="cancel", n=n, job_id=job_id, status=status)

    async def _submit(self, n: int, body: bytes, key: str) -> str | None:
        pause_s = FIRST_PAUSE_S
        while self._patient:
            await self._journal.write(do="submit", n=n, key=key)
            status, answer = await self._call("POST", "/v1/jobs", body, headers=f"Idempotency-Key: {key}\r\n".encode())
            told = (
                {"job_id": json.loads(answer)["id"]}
                if status == 202
                else {"said": answer[:300].decode(errors="replace")}
            )
            await self._journal.write(do="submit", n=n, key=key, status=status, **told)
            if status == 202:
                return told["job_id"]
            if 400 <= status < 500 and status != 429:
                return None
            await asyncio.sleep(self._dice.uniform(0.5, 1.5) * pause_s)
            pause_s = min(pause_s * 1.7, LONGEST_PAUSE_S)
        return None

    async def _call(self, method: str, path: str, body: bytes = b"", *, headers: bytes = b"") -> tuple[int, bytes]:
        """Status 0 when there was no answer."""
        url = self._dice.choice(self._urls)
        idle = self._idle.setdefault(url, [])
        connection = idle.pop() if idle else None
        try:
            async with asyncio.timeout(CALL_S):
                if connection is None:
                    connection = await Connection(url, self._stage.key).__aenter__()
                answer = await connection.call(method, path, body, headers=headers)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            if connection is not None:
                await connection.__aexit__()
            return 0, type(error).__name__.encode()
        idle.append(connection)
        return answer

    async def calibrate(self, *, seconds: float, at_once: int = 16) -> float:
        """Jobs a second from submit to their end in PostgreSQL, as fast as they are taken."""
        began, done = time.monotonic(), 0

        async def one() -> None:
            nonlocal done
            while time.monotonic() - began < seconds:
                self._n += 1
                n = self._n
                body = json.dumps({"tool": "test.noop", "metadata": {"n": str(n)}}).encode()
                kept = await self._submit(n, body, f"warm-{secrets.token_hex(8)}")
                done += kept is not None

        await asyncio.gather(*(one() for _ in range(at_once)))
        self.submitted += done
        await all_ended(self._stage)
        return done / (time.monotonic() - began)
