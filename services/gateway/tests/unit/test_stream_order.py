"""The order of a stream: the same for every reader, and a cut anywhere loses and repeats nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_gateway.domain.stream import (
    ATTEMPT,
    END_WAIT_S,
    OUTPUT_WAIT_S,
    Merge,
    Output,
    Position,
    Row,
    frame,
    position,
    rows_of,
)


def row(number: int, state: str, attempt: int, output_seq: int) -> Row:
    return Row(number, state, attempt, 7, output_seq, f'{{"seq":{number}}}'.encode())


def line(n: int, attempt: int = 1) -> Output:
    return Output(attempt * ATTEMPT + n, "job.log", b"{}")


ROWS = [
    row(1, "queued", 0, 0),
    row(2, "running", 1, 0),
    row(3, "retry_wait", 1, ATTEMPT + 3),
    row(4, "running", 2, ATTEMPT + 3),
    row(5, "cancelling", 2, 2 * ATTEMPT + 1),
    row(6, "cancelled", 2, 2 * ATTEMPT + 2),
]
LINES = [line(1), line(2), line(3), line(1, 2), line(2, 2)]
WHOLE = ["1", "2", "l1.1", "l1.2", "l1.3", "3", "4", "l2.1", "5", "l2.2", "6"]


def told(merge: Merge, *, waited: bool = False, waited_s: float = 0.0) -> list[tuple[str, Position]]:
    found = []
    for event, place, data in merge.ready(waited_s=END_WAIT_S if waited else waited_s):
        known = msgspec.json.decode(data).get("seq") if event == "job.state" else None
        name = str(known) if known else f"l{place.seq // ATTEMPT}.{place.seq % ATTEMPT}"
        found.append((name, place))
    return found


BEGINNING = Position()


def all_at_once(after: Position = BEGINNING) -> list[tuple[str, Position]]:
    merge = Merge(after)
    for one in ROWS:
        merge.add_row(one)
    for output in LINES:
        merge.add_output(output)
    return told(merge)


def test_outputs_come_before_the_event_that_counts_them() -> None:
    assert [name for name, _ in all_at_once()] == WHOLE


def test_ids_are_unique() -> None:
    ids = [place.text() for _, place in all_at_once()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("cut", range(len(WHOLE)))
def test_a_resumed_stream_goes_on_exactly_there(cut: int) -> None:
    whole = all_at_once()
    name, place = whole[cut]
    again = all_at_once(position(place.text()))
    assert again == whole[cut + 1 :], name


CALM = [one for one in ROWS if one.state != "cancelling"]


@given(st.permutations([True] * len(CALM) + [False] * len(LINES)))
def test_a_live_reader_sees_the_same_order_and_ids(row_is_next: list[bool]) -> None:
    whole = Merge(Position())
    for one in CALM:
        whole.add_row(one)
    for output in LINES:
        whole.add_output(output)
    live, seen = Merge(Position()), []
    rows, outputs = iter(CALM), iter(LINES)
    for is_row in row_is_next:
        if is_row:
            live.add_row(next(rows))
        else:
            live.add_output(next(outputs))
        seen += told(live)
    assert seen == told(whole)


@given(st.permutations([True] * len(ROWS) + [False] * len(LINES)))
def test_nothing_is_lost_or_repeated_however_the_topics_race(row_is_next: list[bool]) -> None:
    live, seen = Merge(Position()), []
    rows, outputs = iter(ROWS), iter(LINES)
    for is_row in row_is_next:
        if is_row:
            live.add_row(next(rows))
        else:
            live.add_output(next(outputs))
        seen += told(live)
    assert sorted(name for name, _ in seen) == sorted(WHOLE)
    assert len({place for _, place in seen}) == len(WHOLE)


def test_an_event_waits_for_its_outputs_until_told_otherwise() -> None:
    merge = Merge(Position())
    for one in ROWS[:3]:
        merge.add_row(one)
    assert [name for name, _ in told(merge)] == ["1", "2"]
    assert merge.awaited == ATTEMPT + 3
    merge.add_output(line(1))
    assert told(merge) == []
    assert [name for name, _ in told(merge, waited=True)] == ["l1.1", "3"]


def test_an_event_waits_a_second_and_the_last_one_five() -> None:
    merge = Merge(Position())
    for one in ROWS:
        merge.add_row(one)
    assert [name for name, _ in told(merge)] == ["1", "2"]
    assert merge.patience_s == OUTPUT_WAIT_S == 1.0
    assert told(merge, waited_s=0.99) == []
    assert [name for name, _ in told(merge, waited_s=1.0)] == ["3", "4", "5"]
    assert merge.patience_s == END_WAIT_S == 5.0
    assert told(merge, waited_s=4.99) == []
    assert [name for name, _ in told(merge, waited_s=5.0)] == ["6"]


def test_an_event_told_by_the_topic_holds_its_row_back() -> None:
    merge = Merge(Position())
    merge.expect(2, ATTEMPT + 1)
    merge.add_row(Row(1, "running", 1, raw=b'{"seq":1}'))
    merge.add_row(Row(2, "succeeded", 1, raw=b'{"seq":2}'))
    assert [name for name, _ in told(merge)] == ["1"]
    merge.add_output(line(1))
    assert [name for name, _ in told(merge)] == ["l1.1", "2"]


def test_lines_of_an_attempt_wait_for_its_start() -> None:
    merge = Merge(Position())
    merge.add_row(ROWS[0])
    merge.add_row(ROWS[1])
    merge.add_output(line(1, 2))
    assert [name for name, _ in told(merge)] == ["1", "2"]


def test_the_end_is_known() -> None:
    merge = Merge(Position())
    for one in ROWS:
        merge.add_row(one)
    assert not merge.finished
    told(merge, waited=True)
    assert merge.finished


@pytest.mark.parametrize("text", ["", "x", "1.2", "1.2.3.9", "-1.2.3", "9" * 100, None, "1.2.3\n"])
def test_a_strange_id_means_the_beginning(text: str | None) -> None:
    assert position(text) == Position()


def test_an_event_waits_no_longer_than_its_outputs_are_taken_in() -> None:
    merge = Merge(Position())
    for one in ROWS[:3]:
        merge.add_row(one)
    for output in LINES[:2]:
        merge.add_output(output)
    told(merge)
    assert merge.awaited == ATTEMPT + 3, "the third was progress, which nobody keeps"
    merge.seen(ATTEMPT + 3)
    assert merge.awaited is None
    assert [name for name, _ in told(merge)] == ["l1.1", "l1.2", "3"]


def test_notes_on_the_timeline_do_not_end_or_hold_a_stream() -> None:
    merge = Merge(Position())
    for one in ROWS:
        merge.add_row(one)
    merge.add_row(Row(1_000_001, None, 0, raw=b"{}"))
    assert "1000001" not in [name for name, _ in told(merge, waited=True)]
    assert merge.finished


def test_frames_hold_one_event_whatever_the_data() -> None:
    assert frame("job.log", Position(1, 2, 3), b'{"a":\n1}') == b'id: 1.2.3\nevent: job.log\ndata: {"a":\ndata: 1}\n\n'


def test_rows_keep_their_text() -> None:
    rows, cursor = rows_of(b'{"data":[{"seq":1,"state":"queued","extra":{"b":1}}],"next_cursor":"c","has_more":true}')
    assert (rows[0].seq, rows[0].raw, cursor) == (1, b'{"seq":1,"state":"queued","extra":{"b":1}}', "c")
