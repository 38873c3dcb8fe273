"""Read your writes: how far `jobs.commands` must have been taken in before a tenant may be answered."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from jobyard_common.messaging.publisher import Sent

from jobyard_gateway.outbound.shelf import Shelf, Unknown

KEPT_S = 10.0
MOST_TENANTS = 10_000


class Barrier:
    """The highest acknowledged offset of each partition, by tenant, for ten seconds."""

    def __init__(self, shelf: Shelf, *, monotonic: Callable[[], float], replicated: bool) -> None:
        self._shelf = shelf
        self._monotonic = monotonic
        self._replicated = replicated
        self._marks: dict[str, dict[int, tuple[int, float]]] = {}

    def wrote(self, tenant: str, sent: Sent) -> None:
        marks = self._marks.get(tenant)
        if marks is None:
            if len(self._marks) >= MOST_TENANTS:
                self._forget()
            marks = self._marks[tenant] = {}
        known = marks.get(sent.partition)
        offset = max(sent.offset, known[0]) if known else sent.offset
        marks[sent.partition] = (offset, self._monotonic())
        if self._replicated:
            self._shelf.put_later(f"barrier:{tenant}", msgspec.json.encode(self._live(tenant)), ttl_s=int(KEPT_S))

    async def header(self, tenant: str) -> str:
        """The value of `X-Jobyard-After`; empty when there is nothing to wait for."""
        marks = self._live(tenant)
        if self._replicated:
            try:
                found = await self._shelf.get(f"barrier:{tenant}")
            except Unknown:
                found = None
            for partition, offset in msgspec.json.decode(found or b"{}", type=dict[int, int]).items():
                marks[partition] = max(offset, marks.get(partition, -1))
        return ",".join(f"{partition}:{offset}" for partition, offset in sorted(marks.items()))

    def _live(self, tenant: str) -> dict[int, int]:
        marks = self._marks.get(tenant)
        if not marks:
            return {}
        oldest = self._monotonic() - KEPT_S
        for partition in [number for number, (_, at) in marks.items() if at < oldest]:
            del marks[partition]
        return {partition: offset for partition, (offset, _) in marks.items()}

    def _forget(self) -> None:
        for tenant in list(self._marks):
            if not self._live(tenant):
                del self._marks[tenant]
