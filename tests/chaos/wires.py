"""All wires in a process of their own, with more right to a processor than what it connects.

In the client's process they would stand still whenever that is busy or starved, for every service and server at once,
and the run would measure its own client: a network does not fight for processors.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.support.proxy import Mode, Proxy, kafka_rewrite, to_any, to_tcp, to_unix

NICE = -10
ANSWER_S = 30.0


class Wires:
    """`ports` by name: where a client of the wire connects to."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._one_call = asyncio.Lock()

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.wires",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )

    async def to_unix(self, name: str, path: str) -> int:
        return await self._add(name, unix=path)

    async def to_any(self, name: str, ports: list[int]) -> int:
        """To whichever of these answers."""
        return await self._add(name, any=ports)

    async def to_kafka(self, name: str, host: str, port: int) -> int:
        return await self._add(name, kafka=[host, port])

    async def set(self, name: str, mode: Mode) -> None:
        await self._call(name=name, mode=mode.value)

    async def stop(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def _add(self, name: str, **where: Any) -> int:
        self.ports[name] = await self._call(name=name, **where)
        return self.ports[name]

    async def _call(self, **request: Any) -> int:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        async with asyncio.timeout(ANSWER_S), self._one_call:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            return int(await process.stdout.readline())


def _proxy(request: dict[str, Any]) -> Proxy:
    if "unix" in request:
        return Proxy(to_unix(request["unix"]))
    if "any" in request:
        return Proxy(to_any(lambda: request["any"]))
    host, port = request["kafka"]
    broker = Proxy(to_tcp(host, port))
    broker.rewrite = kafka_rewrite(port, broker)
    return broker


async def _serve() -> None:
    """Each line makes a wire or changes its mode, and is answered by its port; the end of the input is the end."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    wires: dict[str, Proxy] = {}
    while line := await reader.readline():
        request = json.loads(line)
        name = request["name"]
        if "mode" in request:
            wires[name].set(Mode(request["mode"]))
        else:
            wires[name] = _proxy(request)
            await wires[name].start()
        print(wires[name].port, flush=True)
    for wire in wires.values():
        await wire.stop()


if __name__ == "__main__":
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    asyncio.run(_serve())
