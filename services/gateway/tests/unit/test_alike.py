"""Whatever fits a mould becomes exactly what the long way makes of it; whatever has a fault does not fit."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st
from jobyard_common.contracts.envelope import decode as envelope_of
from jobyard_common.contracts.ids import new_series
from jobyard_common.contracts.jobs import Actor, ActorKind, SubmitJob
from jobyard_common.contracts.tools import FileSlot, Isolation, Level, ToolDefinition
from jobyard_common.contracts.wire import decode
from jobyard_common.http.problems import Problem
from jobyard_common.messaging.acknowledged import Lot, PublishFailed, Sent
from jobyard_common.messaging.packed import PackedBatch
from jobyard_common.runtime.clock import SystemClock
from jobyard_common.telemetry.context import new_trace
from jobyard_common.telemetry.tracing import Tracer
from jobyard_gateway.domain.tools import Registry
from jobyard_gateway.handlers.submit_job import Origin, Submitter
from jobyard_gateway.handlers.submit_together import Fresh, Sheet, Together
from jobyard_gateway.outbound.commands import Commands

NONE: Any = None
NOW = datetime(2026, 11, 22, tzinfo=UTC)
SCHEMA = b'{"type":"object","properties":{"n":{"type":"integer"},"t":{"type":"string","maxLength":3}}}'
ORIGIN = Origin("t", Actor(ActorKind.KEY, "key_1"), "corr", new_trace(sampled=False))


class References:
    """Everything exists, and no content is known."""

    async def missing(self, **_: Any) -> set[str]:
        return set()

    def contents(self, *_: Any, **__: Any) -> None:
        return None


def submitter() -> Submitter:
    registry = Registry()
    for name, more in (
        ("a", {}),
        ("slots", {"slots": {"f": FileSlot(required=False)}}),
        ("cached", {"cache_ttl_s": 5}),
    ):
        definition = ToolDefinition(name, "1", "", "", msgspec.Raw(SCHEMA), "q", Isolation.ASYNC, Level.L0, "h", **more)
        registry.define(cast(Any, definition))
    return Submitter(
        registry,
        cast(Any, References()),
        NONE,
        ledger=NONE,
        barrier=NONE,
        id_secret=b"",
        clock=SystemClock(),
        cell="00",
    )


SUBMITTER = submitter()
TAIL, OTHER = new_series(2)


def the_long_way(item: bytes) -> Fresh | None:
    try:
        return asyncio.run(Sheet(SUBMITTER, ORIGIN, now=NOW).draft(item, OTHER))
    except Problem:
        return None


def cast_after(first: bytes, item: bytes) -> Fresh | None:
    sheet = Sheet(SUBMITTER, ORIGIN, now=NOW)
    try:
        asyncio.run(sheet.draft(first, TAIL))
    except Problem:
        return None
    return sheet.cast(item, OTHER)


Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
Objects = st.dictionaries(st.sampled_from(["n", "t", "parameters", "x{", '"', "}", "\0", "é"]), Json, max_size=4)
Good = st.fixed_dictionaries({}, optional={"n": st.integers(), "t": st.text(max_size=3), "more": Json})
Odd = st.sampled_from(
    [
        b'{"n":1,"n":2}', b'{"n":1}{', b'{"n":1},"tags":["x"]', b'{"n":1}, "parameters": {"n":2}', b"{}", b"[]",
        b"null", b' {"n":1}', b'{"n":1} ', b'{"t":"\\u0000"}', b'{"t":"\xff"}', b'{"m":%s}' % (b"[" * 40 + b"]" * 40),
        b'{"n":"1"}',        b'{"m":%s}' % (b"9" * 500), b'{"m":1e999}', b'{"m":"\\ud800"}',
        b'{"n":1', b'"}', b'{"a":"}', b'{"t":"long"}',
        b'{"m":{"a":1,"a":1}}', b'{"n":NaN}', b'{"n":01}', b'{"n":1,}', b"\xef\xbb\xbf{}", b'{"m":"\\x"}',
        b'{"m":"\n"}',
    ]
)  # fmt: skip
Parameters = st.one_of(Good, Objects).map(lambda tree: json.dumps(tree).encode()) | Odd
Rest = st.fixed_dictionaries(
    {"tool": st.sampled_from(["a", "a", "a@1", "slots", "cached", "gone"])},
    optional={
        "tags": st.lists(st.sampled_from(["x", "{}", '{"n":1}', "p"]), max_size=3),
        "metadata": Objects,
        "priority": st.integers(0, 11),
        "delay_s": st.sampled_from([0, 1.5, -1]),
        "retry": st.just({"max_attempts": 2}),
        "dedupe": st.just({"key": "k", "mode": "debounce", "ttl_s": 3}),
        "use_cache": st.booleans(),
        "bogus": st.just(1),
    },
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes, bytes, bytes]:
    """The texts before and after the parameters, and two values of these."""
    before, after = (
        draw(Rest),
        draw(st.just({}) | Rest.map(lambda rest: {k: v for k, v in rest.items() if k != "tool"})),
    )
    gap = draw(st.sampled_from([b"", b" ", b"\n\t"]))
    name = draw(st.sampled_from([b'"parameters"', b'"parameters"', b'"par\\u0061meters"', b'"metadata"']))
    head = json.dumps(before).encode()[:-1] + b"," + gap + name + b":" + gap
    tail = (b"," + json.dumps(after).encode()[1:-1] if after else b"") + gap + b"}"
    return head, tail, draw(Parameters), draw(Parameters)


@given(bodies())
def test_what_fits_is_what_the_long_way_makes(texts: tuple[bytes, bytes, bytes, bytes]) -> None:
    head, tail, first, second = texts
    for item in (head + second + tail, head + first + tail):
        found = cast_after(head + first + tail, item)
        assert found is None or found == the_long_way(item)


@given(bodies(), st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3))
def test_nor_does_it_when_bytes_are_changed_anywhere(
    texts: tuple[bytes, bytes, bytes, bytes], at: int, put: bytes, cut: int
) -> None:
    head, tail, first, second = texts
    whole = head + second + tail
    at %= len(whole)
    item = whole[:at] + put + whole[at + cut :]
    found = cast_after(head + first + tail, item)
    assert found is None or found == the_long_way(item)


@pytest.mark.parametrize("place", ["first", "last", "between"])
def test_items_that_differ_in_their_parameters_fit(place: str) -> None:
    def item(number: int) -> bytes:
        parameters = {"parameters": {"n": number, "more": {"deep": [number] * 3}}}
        rest = {"tool": "a", "tags": ["x"]}
        if place == "between":
            return json.dumps({"tool": "a", **parameters, "metadata": {"k": "{}"}, "delay_s": 60}).encode()
        return json.dumps(parameters | rest if place == "first" else rest | parameters).encode()

    sheet = Sheet(SUBMITTER, ORIGIN, now=NOW)
    asyncio.run(sheet.draft(item(0), TAIL))
    for number in (1, 1, 10**30, 0):
        found = sheet.cast(item(number), OTHER)
        assert found is not None and found == the_long_way(item(number))
        command = decode(SubmitJob, found.command)
        assert (command.job_id, command.command_id) == (f"job_{OTHER}", f"cmd_{OTHER}")
        assert json.loads(bytes(command.spec.parameters))["n"] == number


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b'{"tool":"a","metadata":{}}', b'{"tool":"a","metadata":{"a":1}}'),
        (b'{"tool":"a"}', b'{"tool":"a","parameters":{"n":1}}'),
        (b'{"tool":"a","metadata":{},"parameters":{}}', b'{"tool":"a","metadata":{"a":1},"parameters":{}}'),
        (b'{"tool":"slots","files":{},"parameters":{}}', b'{"tool":"slots","files":{"f":"file_1"},"parameters":{}}'),
        (b'{"tool":"cached","parameters":{"n":1},"use_cache":false}', b'{"tool":"cached","parameters":{"n":1}}'),
    ],
)
def test_what_is_not_certain_does_not_fit(first: bytes, second: bytes) -> None:
    assert cast_after(first, second) is None


def test_equal_items_fit_whatever_they_hold() -> None:
    for item in (b'{"tool":"a"}', b'{"metadata":{},"tool":"a"}', b'{"tool":"a","tags":["{}"],"parameters":{}}'):
        found = cast_after(item, item)
        assert found is not None and found == the_long_way(item)


class Log:
    """A publisher that has the answers it was given, and the spool of a gateway."""

    def __init__(self, answers: list[Sent | PublishFailed]) -> None:
        self.answers = answers
        self.records: list[tuple[bytes, bytes]] = []

    async def send_packed(self, topic: str, records: Any, *, timeout_s: float) -> list[Lot]:
        self.records, count = list(records), len(self.answers)
        return [Lot(range(n, len(records), count), answer) for n, answer in enumerate(self.answers)]


class Memory:
    def __init__(self) -> None:
        self.promises: dict[str, Any] = {}
        self.reached: list[Sent] = []

    def record_all(self, promises: dict[str, Any], *, tenant: str) -> None:
        assert tenant == "t"
        self.promises |= promises

    def wrote(self, tenant: str, sent: Sent) -> None:
        self.reached.append(sent)


def kept(log: Log, *, spool: bool) -> tuple[Memory, set[int], list[Any], list[Fresh]]:
    async def story() -> tuple[Memory, set[int], list[Any], list[Fresh]]:
        memory, spooled = Memory(), []
        commands = Commands(cast(Any, log), NONE, tracer=Tracer("t"), monotonic=lambda: 0.0, wake_relay=lambda: None)

        async def put(records: Any) -> bool:
            spooled.extend(records if spool else [])
            return spool

        commands._spooled = put  # type: ignore[method-assign]
        together = Together(
            SUBMITTER, commands, ledger=cast(Any, memory), barrier=cast(Any, memory), clock=SystemClock()
        )
        sheet = together.sheet(ORIGIN)
        drafts = [await sheet.draft(b'{"tool":"a","parameters":{"n":%d}}' % n, tail) for n, tail in enumerate(TAILS)]
        return memory, await together.keep(drafts, sheet), spooled, drafts

    return asyncio.run(story())


TAILS = new_series(10)


def test_what_is_published_is_remembered_and_awaited_once_a_partition() -> None:
    log = Log([Sent(3, 100), Sent(5, 7)])
    memory, lost, spooled, drafts = kept(log, spool=True)
    assert not lost and not spooled
    assert list(memory.promises) == [f"job_{tail}" for tail in TAILS]
    assert [promise.command for promise in memory.promises.values()] == [draft.command for draft in drafts]
    assert memory.reached == [Sent(3, 104), Sent(5, 11)]
    batch = MemoryRecords(PackedBatch([record for _, record in log.records])._build()).next_batch()
    assert batch is not None
    for read, draft, (key, _) in zip(batch, drafts, log.records, strict=True):
        assert (read.key, read.value) == (key, draft.command) == (f"job_{draft.tail}".encode(), draft.command)
        envelope = envelope_of([(name, value or b"") for name, value in read.headers])
        assert (envelope.id, envelope.subject) == (f"evt_{draft.tail}", f"job_{draft.tail}")
        assert (envelope.correlation_id, envelope.traceparent) == ("corr", ORIGIN.trace.format())


@pytest.mark.parametrize("spool", [True, False])
def test_what_kafka_does_not_take_goes_into_the_spool(spool: bool) -> None:
    answers = [Sent(0, 1), PublishFailed("late"), PublishFailed("too large", permanent=True)]
    memory, lost, spooled, drafts = kept(Log(answers), spool=spool)
    late = [n for n in range(10) if n % 3 == 1]
    assert lost == {n for n in range(10) if n % 3 == 2} | (set() if spool else set(late))
    assert set(memory.promises) == {f"job_{tail}" for n, tail in enumerate(TAILS) if n not in lost}
    assert [(row.key, row.value) for row in spooled] == [
        (f"job_{TAILS[n]}", drafts[n].command) for n in (late if spool else [])
    ]
    assert all(envelope_of(row.headers).subject == row.key for row in spooled)
