"""The rules that claims follow besides the queue itself: which limits stand, and what everybody's turn weighs."""

from __future__ import annotations

from typing import Any

import msgspec

from jobyard_executor.domain.fairness import Weights

STANDING = """
SELECT key, weight, n IS NOT NULL OR rate_n IS NOT NULL AS limits FROM "limit" WHERE NOT auto AND key !~ '^key:'
"""
WEIGHED = "SELECT name, weight FROM queue WHERE weight <> 1"


class Rules(msgspec.Struct, frozen=True):
    """`limits` are the keys of queues, tools and tenants under a limit; concurrency keys always are."""

    limits: frozenset[str]
    weights: Weights


async def rules(connection: Any) -> Rules:
    limits: set[str] = set()
    tenants: dict[str, float] = {}
    keys: dict[tuple[str, str], float] = {}
    for row in await connection.fetch(STANDING):
        kind, _, name = row["key"].partition(":")
        if row["limits"]:
            limits.add(row["key"])
        if row["weight"] is None:
            continue
        if kind == "tenant":
            tenants[name] = row["weight"]
        elif kind == "fairness":
            tenant, _, key = name.partition("/")
            keys[tenant, key] = row["weight"]
    queues = {row["name"]: row["weight"] for row in await connection.fetch(WEIGHED)}
    return Rules(frozenset(limits), Weights(tenants=tenants, keys=keys, queues=queues))
