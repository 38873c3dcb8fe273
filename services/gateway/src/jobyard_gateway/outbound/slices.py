"""Rates shared by gateways: each leases a slice of a caller's quota from Valkey and spends it by itself.

A slice doubles while it is used up quickly, so a busy caller costs a handful of calls, never one a request. Slices
are paid before they are spent: together the gateways never let more through than the rate allows, and an idle one
holds back what it has not spent.
"""

from __future__ import annotations

from typing import NamedTuple

from jobyard_gateway.domain.rate import Rate
from jobyard_gateway.outbound.shelf import Shelf

REPLICA_S = 60
LEASE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local each, burst, need, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('ZADD', KEYS[2], time[1], ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[2], 0, time[1] - ARGV[6])
local replicas = redis.call('ZCARD', KEYS[2])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local room = math.floor((now + burst - full) / each + 0.000001)
local least = math.min(need, math.floor(burst / each + 0.000001))
if room < least then
    return {0, room, full - now, full + least * each - now - burst, replicas}
end
local grant = math.max(need, math.min(want, room))
full = full + grant * each
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1000)
return {grant, math.max(0, room - grant), full - now, 0, replicas}
"""


class Lease(NamedTuple):
    """`granted` units to spend; `left` for everybody; seconds until all are there again, and until the next try."""

    granted: int
    left: int
    reset_s: float
    retry_s: float


class Slices:
    """Raises Unknown while Valkey is away; `replicas` is how many gateways leased lately."""

    def __init__(self, shelf: Shelf, *, instance: str) -> None:
        self._shelf = shelf
        self._instance = instance
        self.replicas = 1

    async def lease(self, name: str, rate: Rate, *, need: int, want: int) -> Lease:
        each_us, burst_us = rate.each_s * 1e6, rate.window_s * 1e6
        arguments = [f"{each_us:.6f}", f"{burst_us:.0f}", need, want, self._instance, REPLICA_S]
        found = await self._shelf.run(LEASE, [f"rate:{name}", "gateways"], arguments)
        granted, left, reset_us, retry_us, replicas = map(int, found)
        self.replicas = max(1, replicas)
        return Lease(granted, left, reset_us / 1e6, retry_us / 1e6)
