"""Limits and what they are put on: how many jobs at once, how many starts in a time, how much a turn weighs.

`queue:…`, `tool:…` and `tenant:…` hold for the whole installation. `key:…` (a concurrency key) and `fairness:…` (the
weight of a fairness key) belong to a tenant and are stored under its name.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

MAX_CONCURRENCY = 1_000_000
MAX_PER_TENANT = 10_000
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Weight = Annotated[float, Meta(ge=0.001, le=1000)]


class Kind(StrEnum):
    QUEUE = "queue"
    TOOL = "tool"
    TENANT = "tenant"
    KEY = "key"
    FAIRNESS = "fairness"


OF_TENANT = frozenset({Kind.KEY, Kind.FAIRNESS})
WEIGHED = frozenset({Kind.TENANT, Kind.FAIRNESS})


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `count` starts in `per_s` seconds, evenly; after a pause up to `burst` at once (default: one second's
    worth, at least one)."""

    count: Count
    per_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 1.0
    burst: Count | None = None

    @property
    def most(self) -> int:
        return self.burst or max(1, min(1_000_000, round(self.count / self.per_s)))


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a PUT. `concurrency` 0 lets nothing start."""

    concurrency: Annotated[int, Meta(ge=0, le=MAX_CONCURRENCY)] | None = None
    rate: Rate | None = None
    weight: Weight | None = None


class QueueLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Members that are missing stay as they are, null takes a limit away."""

    concurrency: Annotated[int, Meta(ge=0, le=MAX_CONCURRENCY)] | None | UnsetType = UNSET
    rate: Rate | None | UnsetType = UNSET
    max_waiting: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None | UnsetType = UNSET


class QueueChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a PATCH."""

    paused: bool | UnsetType = UNSET
    draining: bool | UnsetType = UNSET
    weight: Weight | UnsetType = UNSET
    limits: QueueLimits | UnsetType = UNSET


class LimitKey(msgspec.Struct, frozen=True):
    """`stored` is the key in the table, `public` the one that people use."""

    kind: Kind
    name: str
    stored: str

    @property
    def public(self) -> str:
        return f"{self.kind}:{self.name}"


def limit_key(public: str, *, tenant: str) -> LimitKey | None:
    """What a public key names for this tenant; None if it names nothing that can be limited."""
    kind, colon, name = public.partition(":")
    if not colon or not 1 <= len(name) <= 256 or "\0" in name or kind not in Kind.__members__.values():
        return None
    found = Kind(kind)
    return LimitKey(found, name, f"{kind}:{tenant}/{name}" if found in OF_TENANT else public)


def public_key(stored: str) -> str:
    """The key as its tenant writes it."""
    kind, _, name = stored.partition(":")
    return f"{kind}:{name.partition('/')[2]}" if kind in OF_TENANT else stored


def fault(key: LimitKey, limit: Limit) -> tuple[str, str] | None:
    """Pointer and message of what this limit can't have on this key."""
    if limit.concurrency is None and limit.rate is None and limit.weight is None:
        return "", "Give concurrency, rate or weight."
    if limit.weight is not None and key.kind not in WEIGHED:
        return "/weight", "Tenants and fairness keys have a weight; that of a queue is changed at the queue."
    if key.kind is Kind.FAIRNESS and (limit.concurrency is not None or limit.rate is not None):
        pointer = "/concurrency" if limit.concurrency is not None else "/rate"
        return pointer, "A fairness key has a weight only; put limits on a concurrency key."
    return None
