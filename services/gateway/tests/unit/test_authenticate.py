"""Keys in memory: what outlives the store, and what never does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from jobyard_common.http.problems import Problem
from jobyard_gateway.domain import api_keys
from jobyard_gateway.domain.permissions import Permission, Role
from jobyard_gateway.handlers.authenticate import Authenticator

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class Store:
    """Plays the pool: one key, and a switch."""

    def __init__(self) -> None:
        self.key = api_keys.mint()
        self.away = False
        self.error: Exception = ConnectionRefusedError()
        self.asked = 0
        self.row: dict[str, Any] = {
            "tenant_id": "tnt_a",
            "role": Role.MEMBER.value,
            "scopes": [],
            "hash": api_keys.digest(self.key.text, pepper=b"p"),
            "expires_at": None,
            "revoked_at": None,
            "disabled_at": None,
        }

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Store]:
        yield self

    async def fetchrow(self, _query: str, key_id: str) -> dict[str, Any] | None:
        self.asked += 1
        if self.away:
            raise self.error
        return self.row if key_id == self.key.id else None


class Door:
    def __init__(self) -> None:
        self.clock, self.store = Clock(), Store()
        self.authenticator = Authenticator(cast(Any, self.store), pepper=b"p", clock=self.clock)

    def knock(self, text: str | None = None) -> str:
        """The tenant that is let in, or the code of the refusal."""
        header = f"Bearer {text or self.store.key.text}".encode()
        try:
            return asyncio.run(self.authenticator.of_header(header)).tenant
        except Problem as problem:
            return problem.code


def test_a_known_key_is_asked_for_once_in_30_s() -> None:
    door = Door()
    assert [door.knock() for _ in range(3)] == ["tnt_a"] * 3
    assert door.store.asked == 1
    door.clock.seconds += 31
    assert door.knock() == "tnt_a"
    assert door.store.asked == 2


def test_a_known_key_outlives_its_store_for_a_day() -> None:
    door = Door()
    assert door.knock() == "tnt_a"
    door.store.away = True
    door.clock.seconds += 3600
    assert door.knock() == "tnt_a"
    door.clock.seconds += 86_400
    assert door.knock() == "unavailable"


def test_a_store_that_does_not_keep_up_is_left_in_peace() -> None:
    door = Door()
    assert door.knock() == "tnt_a"
    door.store.away, door.store.error = True, TimeoutError()
    door.clock.seconds += 31
    assert [door.knock() for _ in range(20)] == ["tnt_a"] * 20, "known keys are let in"
    strangers = [api_keys.mint().text for _ in range(20)]
    assert {door.knock(text) for text in strangers} == {"unavailable"}
    assert door.store.asked == 2
    door.store.away = False
    door.clock.seconds += 1
    assert door.knock(strangers[0]) == "unauthenticated"


def test_an_unknown_key_is_not_let_in_because_the_store_is_away() -> None:
    door = Door()
    door.store.away = True
    assert door.knock() == "unavailable"
    door.store.away = False
    assert door.knock() == "tnt_a", "a refusal for want of a store is not remembered"


@pytest.mark.parametrize(
    "change", [{"revoked_at": NOW}, {"disabled_at": NOW}, {"expires_at": NOW}, {"hash": b"x" * 32}]
)
def test_a_dead_key_is_refused_and_the_refusal_remembered_for_5_s(change: dict[str, Any]) -> None:
    door = Door()
    door.store.row.update(change)
    assert [door.knock(), door.knock()] == ["unauthenticated"] * 2
    assert door.store.asked == 1
    door.clock.seconds += 6
    assert door.knock() == "unauthenticated"
    assert door.store.asked == 2


@pytest.mark.parametrize("text", ["jy_" + "A" * 43, "sk_live_x", "jy_" + "x" * 6144, "", "jy_é"])
def test_what_is_no_key_of_ours_asks_nobody(text: str) -> None:
    door = Door()
    assert door.knock(text or " ") == "unauthenticated"
    assert door.store.asked == 0


def test_a_revoked_key_is_forgotten_at_once() -> None:
    door = Door()
    assert door.knock() == "tnt_a"
    door.store.row["revoked_at"] = NOW
    door.authenticator.forget(door.store.key.id)
    assert door.knock() == "unauthenticated"


def test_requests_that_come_at_once_ask_the_store_once() -> None:
    """After an outage all waiting clients come back in one moment."""
    door = Door()
    header = f"Bearer {door.store.key.text}".encode()

    async def rush() -> set[str]:
        found = await asyncio.gather(*(door.authenticator.of_header(header) for _ in range(50)))
        return {principal.tenant for principal in found}

    assert asyncio.run(rush()) == {"tnt_a"}
    assert door.store.asked == 1
    door.clock.seconds += 31
    door.store.away = True
    assert asyncio.run(rush()) == {"tnt_a"}, "known keys outlive the store, however many ask"
    assert door.store.asked == 2


def test_scopes_narrow_the_role() -> None:
    door = Door()
    door.store.row["scopes"] = [Permission.JOBS_READ.value, Permission.TENANTS_ADMIN.value]
    principal = asyncio.run(door.authenticator.of_header(f"Bearer {door.store.key.text}".encode()))
    assert principal.permissions == {Permission.JOBS_READ}
