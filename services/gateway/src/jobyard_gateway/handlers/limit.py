"""Rate limits of tenants and keys: who asks too often is told when to come back.

Always checked in this process; where several gateways share the load, against slices of the common quota. While
Valkey is away each gateway allows its share of the quota, and says so.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jobyard_common.http.context import current
from jobyard_common.http.problems import Problem

from jobyard_gateway.domain.permissions import Principal
from jobyard_gateway.domain.rate import Bucket, Rate, Verdict
from jobyard_gateway.outbound.shelf import Unknown
from jobyard_gateway.outbound.slices import Slices

MOST_BUCKETS = 50_000
FIRST_SLICE = 4
NOTHING_TOLD = Verdict(0, 0.0, 0.0)
Name = tuple[str, str]


@dataclass
class _Slice:
    left: int = 0
    size: int = FIRST_SLICE
    told: Verdict = NOTHING_TOLD
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Limiter:
    """`of_tenant` and `of_key` are rates by class; a class without a rate is free."""

    def __init__(
        self,
        of_tenant: Mapping[str, Rate],
        of_key: Mapping[str, Rate],
        *,
        monotonic: Callable[[], float],
        slices: Slices | None = None,
    ) -> None:
        self._rates = {"tenant": dict(of_tenant), "key": dict(of_key)}
        self._monotonic = monotonic
        self._slices = slices
        self._buckets: OrderedDict[Name, Bucket] = OrderedDict()
        self._leased: OrderedDict[Name, _Slice] = OrderedDict()
        self.active = any(self._rates.values())
        """Whether anything is limited at all."""

    async def check(self, principal: Principal, kind: str, *, cost: int = 1) -> None:
        """Count `cost` units; the answer gets the headers of the tighter limit.

        Raises:
            Problem: rate_limited.
        """
        tightest: tuple[Rate, Verdict] | None = None
        for scope, owner in (("tenant", principal.tenant), ("key", principal.key_id)):
            rate = self._rates[scope].get(kind)
            if rate is None:
                continue
            verdict = await self._take((f"{scope}:{owner}", kind), rate, cost)
            if tightest is None or (verdict.retry_s, -verdict.remaining) > (
                tightest[1].retry_s,
                -tightest[1].remaining,
            ):
                tightest = rate, verdict
            if verdict.retry_s:
                break
        if tightest is None:
            return
        rate, verdict = tightest
        context = current()
        others = [row for row in context.answer_headers if not row[0].startswith(b"ratelimit")]
        context.answer_headers = others + _headers(kind, rate, verdict)
        if verdict.retry_s:
            seconds = math.ceil(verdict.retry_s * random.uniform(1.0, 1.2))  # noqa: S311 - spreads retries
            raise Problem(
                "rate_limited",
                f"More than {rate.quota} in {rate.window_s} s for {kind}.",
                headers={"Retry-After": str(max(1, seconds))},
            )

    async def _take(self, name: Name, rate: Rate, cost: int) -> Verdict:
        if self._slices is None:
            return self._bucket(name).take(rate, cost, now=self._monotonic())
        try:
            return await self._take_leased(self._slices, name, rate, cost)
        except Unknown:
            current().answer_headers.append((b"x-jobyard-degraded", b"limits"))
            share = 1 / self._slices.replicas
            return self._bucket(name).take(rate, cost, now=self._monotonic(), share=share)

    async def _take_leased(self, slices: Slices, name: Name, rate: Rate, cost: int) -> Verdict:
        piece = self._leased.get(name)
        if piece is None:
            piece = self._leased[name] = _Slice()
            if len(self._leased) > MOST_BUCKETS:
                self._leased.popitem(last=False)
        if piece.left < cost:
            async with piece.lock:
                if piece.left < cost:
                    most = max(cost, rate.quota // 8, 1)
                    want = min(max(cost, piece.size), most)
                    found = await slices.lease(":".join(name), rate, need=cost - piece.left, want=want)
                    piece.told = Verdict(found.left, found.reset_s, found.retry_s)
                    if not found.granted:
                        return piece.told
                    piece.left += found.granted
                    piece.size = min(most, piece.size * 2)
        piece.left -= cost
        return Verdict(piece.told.remaining + max(0, piece.left), piece.told.reset_s, 0.0)

    def _bucket(self, name: Name) -> Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket()
            if len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
        return bucket


def _headers(kind: str, rate: Rate, verdict: Verdict) -> list[tuple[bytes, bytes]]:
    return [
        (b"ratelimit-policy", f'"{kind}";q={rate.quota};w={rate.window_s}'.encode()),
        (b"ratelimit", f'"{kind}";r={verdict.remaining};t={math.ceil(verdict.reset_s)}'.encode()),
    ]


UNLIMITED = Limiter({}, {}, monotonic=time.monotonic)
