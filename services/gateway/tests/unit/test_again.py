"""A submit that is checked against a mould becomes the same command as by the long way, whatever has changed since."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest
from jobyard_common.contracts.jobs import Actor, ActorKind, SubmitJob
from jobyard_common.contracts.tools import Isolation, Level, ToolDefinition
from jobyard_common.http.problems import Problem
from jobyard_common.telemetry.context import new_trace
from jobyard_gateway.domain.tools import Registry
from jobyard_gateway.handlers.submit_again import MOST_MOULDS, MOST_SENDERS, Again
from jobyard_gateway.handlers.submit_job import Draft, Origin, Submitter
from jobyard_gateway.outbound.executor import QueueRule, QueueRules
from jobyard_gateway.outbound.queue_book import QueueBook

NONE: Any = None


class Time:
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 22, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


class Ids:
    """Gives every job the same id, so that commands can be compared."""

    def new_job_id(self, *, cell: str) -> str:
        return f"job_{cell}" + "0" * 26


class Missing:
    async def missing(self, *, queue: str | None, **_: Any) -> set[str]:
        return {"queue"} if queue else set()


def definition(version: str = "1", **more: Any) -> ToolDefinition:
    schema = msgspec.Raw(b'{"type":"object","properties":{"n":{"type":"integer"}}}')
    return ToolDefinition("a", version, "", "", schema, "q", Isolation.ASYNC, Level.L0, "h", **more)


class Desk:
    """Takes submits as the endpoint does."""

    def __init__(self) -> None:
        self.time, self.registry, self.book = Time(), Registry(), QueueBook(NONE)
        self.registry.define(definition())
        self.submitter = Submitter(
            self.registry,
            cast(Any, Missing()),
            cast(Any, Ids()),
            ledger=NONE,
            barrier=NONE,
            id_secret=b"",
            clock=self.time,
            cell="00",
            book=self.book,
        )
        self.again = Again(self.submitter)

    def long_way(self, body: bytes, origin: Origin) -> Draft:
        checked = self.submitter.read(body)
        asyncio.run(self.submitter.look_up(checked, tenant=origin.tenant))
        draft = self.submitter.draft(checked, origin, key=None)
        self.again.learn(body, checked, draft.command)
        return draft

    def take(self, body: bytes, who: Origin | None = None) -> tuple[SubmitJob, bool]:
        """The command, and whether it came from a mould."""
        origin = who or sender("key_1")
        self.time.at += timedelta(seconds=1, microseconds=1234)
        draft = self.again.draft(body, origin)
        found = draft or self.long_way(body, origin)
        assert found.promise.command == msgspec.json.encode(found.command)
        return found.command, draft is not None


def sender(key: str, *, tenant: str = "t") -> Origin:
    return Origin(tenant, Actor(ActorKind.KEY, key), "corr", new_trace(sampled=False))


def body(number: object, **members: Any) -> bytes:
    return json.dumps({"tool": "a", "tags": ["x"], "parameters": {"n": number}, **members}).encode()


SHAPES: list[dict[str, Any]] = [
    {},
    {"delay_s": 60.5},
    {"delay_s": 0},
    {"run_at": "2027-01-01T00:00:00Z", "deadline_at": "2028-01-01T00:00:00.123456Z"},
    {"tool": "a@1", "queue": "q", "priority": 9, "metadata": {"k": [1, {}]}, "retry": {"max_attempts": 2}},
    {"dedupe": {"key": "k", "mode": "ttl", "ttl_s": 3}, "fairness_key": "f", "timeout_s": 3},
]


@pytest.mark.parametrize("members", SHAPES)
def test_the_third_of_a_shape_comes_from_a_mould_and_is_no_other(members: dict[str, Any]) -> None:
    desk = Desk()
    assert [desk.take(body(n, **members))[1] for n in range(5)] == [False, False, True, True, True]
    quick, moulded = desk.take(body(10**25, **members))
    slow = desk.long_way(body(10**25, **members), sender("key_1")).command
    assert moulded and msgspec.json.encode(quick) == msgspec.json.encode(slow)
    assert bytes(quick.spec.parameters) == b'{"n": %d}' % 10**25


@pytest.mark.parametrize(
    "members",
    [
        {"dedupe": {"key": "k", "mode": "debounce", "ttl_s": 3}},
        {"metadata": {"long": "x" * 1000, **{f"k{n}": "y" * 1000 for n in range(8)}}},
    ],
)
def test_what_depends_on_more_has_no_mould(members: dict[str, Any]) -> None:
    desk = Desk()
    assert not any(desk.take(body(n, **members))[1] for n in range(4))


def test_a_fault_is_told_as_ever_and_the_mould_stays() -> None:
    desk = Desk()
    for n in range(3):
        desk.take(body(n))
    for wrong in (body("x"), body(1)[:-1], body(1).replace(b'"n"', b'"n":1,"n"'), body(1, bogus=1)):
        with pytest.raises(Problem):
            desk.take(wrong)
    assert desk.take(body(3))[1]


def test_a_sender_has_its_own() -> None:
    desk = Desk()
    for n in range(3):
        desk.take(body(n))
    assert desk.take(body(3))[1]
    for other in (sender("key_2"), sender("key_1", tenant="u")):
        command, moulded = desk.take(body(4), other)
        assert not moulded and (command.tenant, command.actor) == (other.tenant, other.actor)


def test_a_new_version_or_a_retired_tool_is_noticed() -> None:
    desk = Desk()
    for n in range(3):
        desk.take(body(n))
    desk.registry.define(definition("2", timeout_s=7))
    command, moulded = desk.take(body(3))
    assert not moulded and (command.spec.tool_version, command.spec.timeout_s) == ("2", 7)
    for n in range(3):
        desk.take(body(n))
    desk.registry.retire("a@2")
    assert desk.take(body(3))[0].spec.tool_version == "1"
    desk.registry.retire("a@1")
    with pytest.raises(Problem) as caught:
        desk.take(body(3))
    assert caught.value.code == "unknown_tool"


def test_routes_and_queues_are_those_of_now() -> None:
    desk = Desk()
    for n in range(3):
        assert desk.take(body(n))[0].spec.queue == "q"
    desk.book.learn(QueueRules(routes={"a": "there"}))
    command, moulded = desk.take(body(3))
    assert moulded and command.spec.queue == "there"
    desk.book.learn(QueueRules(queues={"own": QueueRule()}))
    for n in range(3):
        _, moulded = desk.take(body(n, queue="own"))
    assert moulded
    desk.book.learn(QueueRules())
    with pytest.raises(Problem) as caught:
        desk.take(body(3, queue="own"))
    assert caught.value.errors[0].pointer == "/queue"


def test_what_is_kept_is_bounded() -> None:
    desk = Desk()
    for n in range(3 * MOST_MOULDS):
        for number in range(2):
            desk.take(body(number, priority=n % 10 + 1, fairness_key=str(n)))
    assert len(desk.again._moulds["t", "key_1"]) == MOST_MOULDS
    for n in range(MOST_SENDERS + 10):
        for number in range(2):
            desk.take(body(number), sender(f"key_{n}"))
    assert len(desk.again._moulds) == len(desk.again._last) == MOST_SENDERS
