"""Asking a service directly whether it lives."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from jobyard_monitor.domain.system import Answer

TIMEOUT_S = 0.8


class Probe:
    """`addresses` maps service names to base URLs."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=False)  # noqa: S501 - liveness only

    async def ask(self, service: str) -> Answer:
        """Never raises: a broken address is a service that is not there."""
        address = self._addresses.get(service)
        if address is None:
            return Answer.UNASKED
        try:
            await self._client.get(f"{address}/livez")
        except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
            return Answer.REFUSED
        except (httpx.HTTPError, httpx.InvalidURL):
            return Answer.SILENT
        return Answer.ALIVE

    async def close(self) -> None:
        await self._client.aclose()
