"""What the relay keeps in memory, where its rounds begin, and which rows it may delete."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jobyard_common.messaging import outbox
from jobyard_common.messaging.outbox import Relay, pack_headers
from jobyard_common.messaging.publisher import OutRecord, PublishFailed, Sent
from jobyard_common.messaging.relaying import round_begins, round_ended, sort_answers
from jobyard_common.telemetry.tracing import Tracer


class Table:
    """The outbox as committed; counts what is read of it."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.read: list[int] = []

    async def fetch(self, _query: str, numbers: list[int]) -> list[tuple[Any, ...]]:
        self.read += numbers
        found = [number for number in numbers if number in self.numbers]
        return [(number, "t", b"k", f"table {number}".encode(), pack_headers([("n", b"1")])) for number in found]


def record(number: int) -> OutRecord:
    return OutRecord("t", b"k", f"memory {number}".encode(), [("n", b"1")])


def relay(*, keeping: bool = True) -> Relay:
    made = Relay(None, None, tracer=Tracer("test"), lock_name="test")  # type: ignore[arg-type]
    made._keeping = keeping
    return made


def keep(made: Relay, *numbers: int) -> None:
    made.keep(numbers, [record(number) for number in numbers])


def records(made: Relay, table: Table, *numbers: int) -> list[bytes | None]:
    found = asyncio.run(made._records(table, list(numbers)))  # type: ignore[arg-type]
    assert list(found) == [number for number in numbers if number in found]
    return [one.value for one in found.values()]


def test_what_was_kept_is_not_read_again_and_comes_in_the_order_of_the_table() -> None:
    made, table = relay(), Table(1, 2, 3)
    keep(made, 3, 1)
    assert records(made, table, 1, 2, 3) == [b"memory 1", b"table 2", b"memory 3"]
    assert table.read == [2]
    keep(made, 2)
    assert records(made, table, 1, 2, 3) == [b"memory 1", b"memory 2", b"memory 3"]
    assert table.read == [2]


def test_what_was_rolled_back_is_never_published() -> None:
    """Its number is kept, but no table names it; the next transaction has other numbers."""
    made, table = relay(), Table(2)
    keep(made, 1, 2)
    assert records(made, table, 2) == [b"memory 2"]


def test_a_row_that_another_relay_deleted_meanwhile_is_left_out() -> None:
    assert records(relay(), Table(2), 1, 2) == [b"table 2"]


def test_a_relay_that_does_not_own_all_shards_keeps_nothing() -> None:
    made, table = relay(keeping=False), Table(1)
    keep(made, 1)
    assert records(made, table, 1) == [b"table 1"]


def test_memory_is_bounded_and_forgetting_starts_a_full_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_KEPT", 3)
    made, table = relay(), Table(1, 2, 3, 4)
    keep(made, 1, 2, 3)
    made._from = 4
    keep(made, 4)
    assert made._from == 0
    assert records(made, table, 3, 4) == [b"table 3", b"memory 4"]


def test_ids_and_records_belong_together() -> None:
    with pytest.raises(ValueError, match="zip"):
        relay().keep([1, 2], [record(1)])


def test_a_round_begins_behind_the_last_one_or_at_what_was_kept_and_overtaken() -> None:
    assert round_begins(10, {}, full=False) == 10
    assert round_begins(10, {12, 15}, full=False) == 10
    assert round_begins(10, {7, 15}, full=False) == 7
    assert round_begins(10, {7}, full=True) == 0


def test_a_round_ends_behind_its_numbers_only_if_all_were_our_own() -> None:
    assert round_ended([3, 4, 6], {3, 4, 6, 9}) == 7
    assert round_ended([3, 4, 6], {3, 6}) == 0


def test_a_row_goes_for_an_acknowledgement_or_into_the_grave_and_else_stays() -> None:
    away, unfit = PublishFailed("away"), PublishFailed("too large", permanent=True)
    found = sort_answers([1, 2, 3, 4], [Sent(0, 5), away, unfit, Sent(0, 6)])
    assert (found.done, found.refused, found.failed) == ([1, 4], [(3, "too large")], [away])


class Shared:
    """An outbox that two processes write: what is committed, and what was published of it."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.published: list[int] = []
        self.grew = asyncio.Event()

    async def fetch(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        if query == outbox.READ:
            return [(number, "t", b"k", b"%d" % number, pack_headers([("n", b"1")])) for number in given[0]]
        return [(number,) for number in sorted(self.rows) if number >= given[0]]

    async def execute(self, _query: str, numbers: list[int]) -> None:
        self.rows = [number for number in self.rows if number not in numbers]

    async def send_many(self, sent: list[OutRecord]) -> list[Sent]:
        self.published += [int((one.value or b"").split()[-1]) for one in sent]
        self.grew.set()
        return [Sent(0, number) for number in range(len(sent))]

    async def until(self, *numbers: int) -> None:
        async with asyncio.timeout(10):
            while len(self.published) < len(numbers):
                await self.grew.wait()
                self.grew.clear()
        assert self.published == list(numbers)


def test_what_another_process_committed_late_is_not_overtaken() -> None:
    async def story() -> None:
        table = Shared()
        made = Relay(None, table, tracer=Tracer("test"), lock_name="test", poll_s=3600)  # type: ignore[arg-type]
        made._keeping = True
        made._from = 1
        rounds = asyncio.create_task(made._rounds(table, list(range(outbox.SHARDS))))  # type: ignore[arg-type]
        keep(made, 101)
        table.rows = [101]
        await table.until(101)
        # A job that the other process claimed (100) and finished (110) while we published 101.
        table.rows = [100, 110]
        made.wake()
        await table.until(101, 100, 110)
        # From now on nothing of our own goes before what it may still commit.
        keep(made, 120)
        table.rows = [115, 120]
        made.wake()
        await table.until(101, 100, 110, 115, 120)
        rounds.cancel()

    asyncio.run(story())
