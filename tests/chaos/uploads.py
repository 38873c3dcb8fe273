"""Files by tus: each goes on from the offset that the server tells, until its last byte is acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import random

import httpx

from tests.chaos.journal import Journal
from tests.chaos.stage import GATEWAYS, Stage

CALL_S = 10.0
LARGEST = 300_000


class Uploads:
    """`run` begins them at its pace; `finish` waits for those under way."""

    def __init__(self, stage: Stage, journal: Journal, *, seed: int) -> None:
        self._stage = stage
        self._journal = journal
        self._dice = random.Random(f"uploads {seed}")
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, *, every_s: float) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._dice.expovariate(1 / every_s))
            task = asyncio.create_task(self._upload(self._dice.randbytes(self._dice.randrange(1, LARGEST))))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def finish(self, *, timeout_s: float) -> None:
        """What is not whole by then was never acknowledged whole, and is given up."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
            for task in late:
                task.cancel()

    async def _upload(self, content: bytes) -> None:
        headers = {"Authorization": f"Bearer {self._stage.key}", "Tus-Resumable": "1.0.0"}
        path, done = "", False
        while not done:
            base = self._stage.cast.url(self._dice.choice(GATEWAYS))
            try:
                async with httpx.AsyncClient(base_url=base, timeout=CALL_S, trust_env=False, headers=headers) as http:
                    path = path or await _create(http, len(content))
                    done = bool(path) and await _append(http, path, content)
            except httpx.HTTPError:
                done = False
            if not done:
                await asyncio.sleep(self._dice.uniform(0.3, 1.0))
        sha256 = hashlib.sha256(content).hexdigest()
        await self._journal.write(do="upload", status=204, file_id=path.rsplit("/", 1)[-1], sha256=sha256)


async def _create(http: httpx.AsyncClient, size: int) -> str:
    made = await http.post("/v1/files", headers={"Upload-Length": str(size)})
    return httpx.URL(made.headers["Location"]).path if made.status_code == 201 else ""


async def _append(http: httpx.AsyncClient, path: str, content: bytes) -> bool:
    """Whether the last byte is acknowledged, now or by a call whose answer was lost."""
    told = await http.head(path)
    if told.status_code != 200:
        return False
    offset = int(told.headers["Upload-Offset"])
    if offset == len(content):
        return True
    octets = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    sent = await http.patch(path, content=content[offset:], headers=octets)
    return sent.status_code == 204 and int(sent.headers["Upload-Offset"]) == len(content)
