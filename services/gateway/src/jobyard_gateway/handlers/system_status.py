"""Is everything well? The monitor knows from heartbeats; while it is away, the gateway looks itself."""

from __future__ import annotations

import asyncio

import httpx
import msgspec
from jobyard_common.http.internal import InternalClient
from jobyard_common.http.problems import Problem
from jobyard_common.runtime.health import Readiness

from jobyard_gateway.domain.permissions import Principal
from jobyard_gateway.outbound.monitor import Monitor

LOOK_S = 2.0


class SystemStatus:
    def __init__(self, monitor: Monitor, clients: dict[str, InternalClient], readiness: Readiness) -> None:
        self._monitor = monitor
        self._clients = clients
        self._readiness = readiness

    async def status(self, principal: Principal) -> bytes:
        """The document of `GET /v1/system`."""
        try:
            return (await self._monitor.get("/v1/system", principal)).body
        except Problem as problem:
            if problem.code != "unavailable":
                raise
        looks = await asyncio.gather(*(self._look(client) for client in self._clients.values()))
        services = [{"name": "gateway", "status": self._readiness.status()}]
        services += [{"name": name, "status": status} for name, status in zip(self._clients, looks, strict=True)]
        well = all(row["status"] == "ok" for row in services)
        return msgspec.json.encode({"status": "ok" if well else "degraded", "services": services, "source": "gateway"})

    @staticmethod
    async def _look(client: InternalClient) -> str:
        try:
            answer = await client.http.get("/readyz", timeout=LOOK_S)
            return str(msgspec.json.decode(answer.content, type=dict[str, object]).get("status", "down"))
        except (httpx.HTTPError, msgspec.DecodeError):
            return "down"
