"""Bodies that change queues, limits and routes, checked at the door; what they mean is the executor's."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.submission import QueueName

OF_TENANT = ("key", "fairness")
OF_ALL = ("queue", "tool", "tenant")
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Concurrency = Annotated[int, Meta(ge=0, le=1_000_000)]
Weight = Annotated[float, Meta(ge=0.001, le=1000)]


class Rate(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """At most `count` starts in `per_s` seconds, after a pause up to `burst` at once."""

    count: Count
    per_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 1.0
    burst: Count | None = None


class LimitDocument(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """At least one member; `weight` is for `tenant:` and `fairness:`."""

    concurrency: Concurrency | None = None
    rate: Rate | None = None
    weight: Weight | None = None


class QueueLimits(msgspec.Struct, forbid_unknown_fields=True):
    """Null takes a limit away, a missing member leaves it."""

    concurrency: Concurrency | None | UnsetType = UNSET
    rate: Rate | None | UnsetType = UNSET
    max_waiting: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None | UnsetType = UNSET


class QueueDocument(msgspec.Struct, forbid_unknown_fields=True):
    """Missing members stay as they are."""

    paused: bool | UnsetType = UNSET
    draining: bool | UnsetType = UNSET
    weight: Weight | UnsetType = UNSET
    limits: QueueLimits | UnsetType = UNSET


class RouteDocument(msgspec.Struct, forbid_unknown_fields=True):
    queue: QueueName


def key_faults(key: str) -> list[Fault]:
    """What is wrong with the key of a limit."""
    kind, colon, name = key.partition(":")
    if kind not in (*OF_TENANT, *OF_ALL) or not colon or not 1 <= len(name) <= 256:
        return [Fault("key", "A key is queue:…, tool:…, tenant:…, key:… or fairness:…, with a name.")]
    return []


def is_own(key: str) -> bool:
    """Whether the key belongs to the caller's tenant rather than to the whole installation."""
    return key.partition(":")[0] in OF_TENANT
