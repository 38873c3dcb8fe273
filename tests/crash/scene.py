"""Four services on real servers, one of which is about to die at a named point."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from jobyard_local.schemas import SERVICES

from tests.chaos import checker, facts
from tests.chaos.journal import Account
from tests.support.cast import FAST_LEASES, SMALL, Cast, Ground

VARIABLE = "JOBYARD_CRASH_AT"
FEW = {"jobs.commands": 2, "jobs.events": 2, "jobs.output": 1}


class Scene:
    """`account` is what the client was told; `facts()` is what is true."""

    def __init__(self, home: Path, *, ground: Ground) -> None:
        settings = {**FAST_LEASES, **SMALL, "JOBYARD_CHECKPOINT_BYTES": "65536", "JOBYARD_SWEEP_EVERY_S": "5"}
        self.cast = Cast(home, ground=ground, settings=settings)
        self.account = Account()
        self.ground = ground
        self._armed_at: dict[str, int] = {}
        self._n = 0

    async def open(self) -> None:
        names = [f"{service}-1" for service in SERVICES]
        for name in names:
            self.cast.add(name)
        await self.cast.lay_ground(partitions=FEW)
        key = await self.cast.mint_key()
        self.headers = {"Authorization": f"Bearer {key}"}
        await asyncio.gather(*(self.cast.kept[name].start() for name in names))
        await self.until(self._tools_known, what="the tools")

    async def close(self) -> None:
        await self.cast.stop()

    # -- dying

    async def arm(self, name: str, order: str, **special: str) -> None:
        """Restart `name` so that it dies at `order`, and leave it dead then."""
        kept = self.cast.kept[name]
        await self._end(name)
        self.cast.special[name] = {VARIABLE: order, **special}
        self._armed_at[name] = self._log(name).stat().st_size if self._log(name).exists() else 0
        await kept.start()
        await self.until(lambda: self._serves(name), what=f"{name} to serve")

    async def _end(self, name: str) -> None:
        kept = self.cast.kept[name]
        kept.hold()
        if kept.process is not None:
            await kept.process.kill()

    async def until_dead(self, name: str) -> None:
        """It must have been the point, and nothing else, that ended it."""
        process = self.cast.kept[name].process
        assert process is not None
        code = await asyncio.wait_for(process.wait(), 30)
        told = self._log(name).read_bytes()[self._armed_at[name] :].decode(errors="replace")
        order = self.cast.special[name][VARIABLE]
        assert code == -9 and f"crash point {order}\n" in told, (code, told[-500:])

    async def heal(self, name: str) -> None:
        """Start it again as it is in production."""
        self.cast.special.pop(name, None)
        kept = self.cast.kept[name]
        await kept.start()
        kept.release()
        await self.until(lambda: self._serves(name), what=f"{name} to serve")

    def _log(self, name: str) -> Path:
        return self.cast.home / "logs" / f"{name}.log"

    async def _serves(self, name: str) -> bool:
        return await self.cast.kept[name].answers() and (name != "gateway-1" or await self._tools_known())

    async def _tools_known(self) -> bool:
        return "test.echo" in (await self.call("GET", "/v1/tools/test.echo")).text

    # -- the client

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Raises httpx.TransportError when the gateway dies."""
        async with httpx.AsyncClient(
            base_url=self.cast.url("gateway-1"), headers=self.headers, timeout=15, trust_env=False
        ) as http:
            return await http.request(method, path, **options)

    def draft(self, tool: str, parameters: dict[str, Any] | None = None, **options: Any) -> Draft:
        self._n += 1
        body = {"tool": tool, "parameters": parameters or {}, "metadata": {"n": str(self._n)}, **options}
        self.account.tried.add(self._n)
        return Draft(self, self._n, body, f"crash-{secrets.token_hex(6)}")

    async def run(self, tool: str, parameters: dict[str, Any] | None = None, **options: Any) -> str:
        return await self.draft(tool, parameters, **options).promised()

    async def upload(self, content: bytes, *, url: str | None = None, offset: int = 0) -> httpx.Response:
        octets = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"} | TUS
        return await self.call("PATCH", url or await self.new_upload(len(content)), content=content, headers=octets)

    async def new_upload(self, size: int) -> str:
        made = await self.call("POST", "/v1/files", headers=TUS | {"Upload-Length": str(size)})
        assert made.status_code == 201, made.text
        return str(made.headers["Location"])

    # -- the truth

    async def facts(self) -> facts.Facts:
        return await facts.gather(self.ground, blobs=self.cast.data("files-1") / "blobs")

    async def until(self, probe: Callable[[], Awaitable[Any]], *, what: str, timeout_s: float = 40) -> Any:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                answer = await probe()
            except httpx.TransportError:
                answer = None
            if answer:
                return answer
            assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
            await asyncio.sleep(0.1)

    async def sound(self) -> facts.Facts:
        """Wait until no invariant is broken, the quiet ones included: lag, outboxes, projections."""
        deadline = time.monotonic() + 40
        while True:
            found = await self.facts()
            breaches = checker.check(self.account, found)
            if not breaches:
                return found
            assert time.monotonic() < deadline, "\n".join(map(str, breaches[:10]))
            await asyncio.sleep(0.3)


TUS = {"Tus-Resumable": "1.0.0"}


class Draft:
    """One submit with its key, sent as often as it takes."""

    def __init__(self, scene: Scene, n: int, body: dict[str, Any], key: str) -> None:
        self._scene, self.n, self._body, self._key = scene, n, body, key

    async def send(self) -> httpx.Response:
        answer = await self._scene.call("POST", "/v1/jobs", json=self._body, headers={"Idempotency-Key": self._key})
        if answer.status_code == 202:
            self._scene.account.promised.setdefault(self.n, set()).add(answer.json()["id"])
        return answer

    async def promised(self) -> str:
        """Repeat until it is answered by a 202; returns the id."""

        async def once() -> str | None:
            answer = await self.send()
            assert answer.status_code in (202, 503), answer.text
            return str(answer.json()["id"]) if answer.status_code == 202 else None

        return str(await self._scene.until(once, what="a 202"))


def processes_with(marker: str) -> Iterator[int]:
    """Ids of processes that carry `marker` in their arguments."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    yield int(entry.name)
            except OSError:
                continue
