"""What the relay keeps in memory, where its rounds begin, and which rows it may delete."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_common.messaging import outbox
from jobyard_common.messaging.outbox import Relay, pack_headers
from jobyard_common.messaging.publisher import OutRecord, PublishFailed, Sent
from jobyard_common.messaging.relaying import MOST_MISSING, Horizon, Numbers, keeps, sort_answers
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
    made._numbers = Numbers() if keeping else None
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
    assert made._numbers is not None
    keep(made, 1, 2, 3)
    made._numbers.looked([1, 2, 3], {}, whole=True)
    made._numbers.look(Horizon(7, 7), top=3)
    made._numbers.look(Horizon(7, 7), top=3)
    made._numbers.looked([], {}, whole=True)
    assert made._numbers.begins({}) == 4
    keep(made, 4)
    assert made._numbers.begins(made._kept) == 1
    assert records(made, table, 3, 4) == [b"table 3", b"memory 4"]


def test_ids_and_records_belong_together() -> None:
    with pytest.raises(ValueError, match="zip"):
        relay().keep([1, 2], [record(1)])


def settled(numbers: Numbers) -> None:
    """Every transaction of a number so far has ended, and a round has seen it."""
    numbers.look(Horizon(5, 5), top=numbers.top)
    numbers.look(Horizon(5, 5), top=numbers.top)
    numbers.looked([], (), whole=True)


def test_a_relay_begins_at_the_beginning_until_every_older_transaction_has_ended() -> None:
    numbers = Numbers()
    assert numbers.begins(()) == 1
    numbers.looked([10**9], (), whole=True)
    numbers.look(Horizon(4, 8), top=numbers.top)
    numbers.looked([10**9 + 1], (), whole=True)
    assert numbers.begins(()) == 1
    numbers.look(Horizon(7, 9), top=numbers.top)
    assert numbers.begins(()) == 1, "one of them is still open"
    numbers.look(Horizon(8, 9), top=numbers.top)
    assert numbers.begins(()) == 1, "they have ended, and nobody has looked since"
    numbers.looked([], (), whole=True)
    assert numbers.begins(()) == 10**9 + 2


def test_a_round_begins_behind_the_last_one_or_at_what_is_kept() -> None:
    numbers = Numbers()
    settled(numbers)
    numbers.note([1, 2, 3])
    assert numbers.begins({2, 3}) == 2
    numbers.looked([2, 3], {2, 3}, whole=True)
    assert numbers.begins(()) == 4


def test_a_number_that_did_not_appear_holds_the_next_round_until_it_does() -> None:
    numbers = Numbers()
    numbers.note([1, 2, 5])
    numbers.note([7, 8])
    assert numbers.begins(()) == 3
    numbers.note([3])
    assert numbers.begins(()) == 4
    numbers.looked([4, 6], (), whole=True)
    assert numbers.begins(()) == 9


def test_what_was_rolled_back_is_given_up_when_its_transaction_has_ended() -> None:
    numbers = Numbers()
    numbers.note([1, 4])
    numbers.look(Horizon(10, 20), top=numbers.top)
    numbers.note([6])
    numbers.look(Horizon(20, 30), top=numbers.top)
    assert numbers.looked([1], [1, 4, 6], whole=True) == [4]
    assert numbers.begins([6]) == 5, "2, 3 and 4 will never come; 5 may"
    assert numbers.begins([]) == 5


def test_a_round_that_was_cut_short_settles_only_what_it_saw() -> None:
    numbers = Numbers()
    numbers.note([100])
    numbers.doubt()
    settled_at = Horizon(5, 5)
    numbers.look(settled_at, top=100)
    numbers.look(settled_at, top=100)
    numbers.looked([10, 20], (), whole=False)
    assert numbers.begins(()) == 21
    numbers.looked([30, 100], (), whole=False)
    assert numbers.begins(()) == 101


def test_after_a_doubt_everything_is_looked_at_again() -> None:
    numbers = Numbers()
    numbers.note([1, 2, 3])
    settled(numbers)
    assert numbers.begins(()) == 4 and not numbers.is_open(())
    numbers.doubt()
    assert numbers.begins(()) == 1 and numbers.is_open(())


def test_a_gap_too_wide_to_count_is_looked_through() -> None:
    numbers = Numbers()
    numbers.note([1])
    numbers.note([MOST_MISSING + 10])
    assert numbers.begins(()) == 1 and not numbers._missing


@given(st.data())
def test_a_round_never_begins_above_what_is_committed(data: st.DataObject) -> None:
    """Writers here and elsewhere are given numbers and commit or roll back whenever they like."""
    numbers, kept = Numbers(), set[int]()
    top, next_xid = 0, 1
    running: dict[int, list[int]] = {}
    table: set[int] = set()
    for _ in range(data.draw(st.integers(1, 40))):
        what = data.draw(st.sampled_from(("begin", "number", "commit", "roll back", "look", "round", "round", "fail")))
        if what == "begin":
            running[next_xid] = []
            next_xid += 1
        elif what in ("number", "commit", "roll back"):
            if not running:
                continue
            xid = data.draw(st.sampled_from(sorted(running)))
            if what == "number":
                count = data.draw(st.integers(1, 3))
                given = list(range(top + 1, top + 1 + count))
                top += count
                running[xid] += given
                if data.draw(st.booleans()):
                    numbers.note(given)
                    kept.update(given)
            else:
                table.update(running.pop(xid) if what == "commit" else running.pop(xid)[:0])
        elif what == "look":
            numbers.look(Horizon(min(running, default=next_xid), next_xid), top=numbers.top)
        else:
            first, limit = numbers.begins(kept), data.draw(st.integers(1, 4))
            assert first <= min(table, default=first), (first, table)
            found = sorted(number for number in table if number >= first)[:limit]
            kept.difference_update(numbers.looked(found, kept, whole=len(found) < limit))
            if what == "fail":
                numbers.doubt()
            else:
                table.difference_update(found)
                kept.difference_update(found)


def test_only_the_owner_of_all_shards_keeps() -> None:
    assert keeps(4, shards=4) and not keeps(3, shards=4) and not keeps(0, shards=4)


def test_a_row_goes_for_an_acknowledgement_or_into_the_grave_and_else_stays() -> None:
    away, unfit = PublishFailed("away"), PublishFailed("too large", permanent=True)
    found = sort_answers([1, 2, 3, 4], [Sent(0, 5), away, unfit, Sent(0, 6)])
    assert (found.done, found.refused, found.failed) == ([1, 4], [(3, "too large")], [away])


class Shared:
    """An outbox that two processes write: what is committed, what was published, which transactions run."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.published: list[int] = []
        self.horizon = Horizon(1, 1)
        self.asked: list[int] = []
        self.grew = asyncio.Event()

    async def fetch(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        if query == outbox.HORIZON:
            return [self.horizon]
        if query == outbox.READ:
            return [(number, "t", b"k", b"%d" % number, pack_headers([("n", b"1")])) for number in given[0]]
        self.asked.append(given[0])
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
        rounds = asyncio.create_task(made._rounds(table, list(range(outbox.SHARDS))))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert made._numbers is not None
        made._numbers.note([100])
        settled(made._numbers)
        keep(made, 102)
        table.rows = [102]
        made.wake()
        await table.until(102)
        # The other process had 101 and commits it now; then its job goes on here.
        keep(made, 103)
        table.rows = [101, 103]
        made.wake()
        await table.until(102, 101, 103)
        keep(made, 104)
        table.rows = [104]
        made.wake()
        await table.until(102, 101, 103, 104)
        assert table.asked[-1] > 100, "nothing is missing: no need to begin at the beginning"
        rounds.cancel()

    asyncio.run(story())
