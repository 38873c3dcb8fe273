"""The feed of a tenant: nothing that still matters is lost or repeated, however slowly it is read."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_common.contracts.jobs import Actor, ActorKind, JobEvent
from jobyard_common.messaging.inbound import Inbound
from jobyard_gateway.domain.tenant_feed import MOST_WAITING, Feed, change_of, position_of, text_of, told, wanted

JOB = "job_00" + "0" * 25
METADATA = {"k": "v", "n": 1, "deep": {"a": 1}}


def record(partition: int, offset: int, job: int = 1, event_no: int = 1, **members: object) -> Inbound:
    snapshot = {"id": f"{JOB}{job}", "tool": "echo", "state": "queued", "queue": "default", "tags": ["a", "b"]}
    snapshot |= {"metadata": METADATA, "correlation_id": "c", "created_at": "2026-01-01T00:00:00.000Z", **members}
    event = JobEvent(msgspec.Raw(msgspec.json.encode(snapshot)), "t", 7, event_no, 0, Actor(ActorKind.KEY, "key_1"))
    headers = [("ce_type", b"jobyard.job.queued.v1"), ("ce_time", b"2026-01-01T00:00:00.000Z")]
    return Inbound("jobs.events", partition, offset, 0, JOB.encode(), msgspec.json.encode(event), headers)


def feed(position: list[int], *pairs: tuple[str, str]) -> Feed:
    made = Feed("t", wanted(pairs))
    made.begin(position)
    return made


def add(to: Feed, row: Inbound) -> None:
    change = change_of(row)
    assert change is not None
    to.add(change)


Rows = st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=60)


@given(Rows, st.integers(0, 60))
def test_a_slow_reader_that_resumes_ends_with_the_last_word_on_every_job(rows: Rows, cut: int) -> None:
    records, ends, numbers = [], [0, 0], dict[int, int]()
    for job, _ in rows:
        partition = job % 2
        numbers[job] = numbers.get(job, 0) + 1
        records.append(record(partition, ends[partition], job, numbers[job]))
        ends[partition] += 1
    reader, got = feed([0, 0]), []
    for row, (_, reads) in zip(records, rows, strict=True):
        add(reader, row)
        if reads and (one := reader.take()) is not None:
            got.append(one)
        if len(got) == cut:
            break
    place = position_of(got[-1][0], partitions=2) if got else [0, 0]
    assert place is not None
    again = feed(place)
    for row in records:
        if row.offset >= place[row.partition]:
            add(again, row)
    while (one := again.take()) is not None:
        got.append(one)
    seen = [(change["job"]["id"], change["event_no"]) for change in (msgspec.json.decode(data) for _, data in got)]
    assert len(set(seen)) == len(seen), "nothing comes twice"
    last = {f"{JOB}{job}": count for job, count in numbers.items()}
    assert {job: max(number for other, number in seen if other == job) for job, _ in seen} == last
    for job in last:
        own = [number for other, number in seen if other == job]
        assert own == sorted(own)


@pytest.mark.parametrize(
    ("pairs", "wants"),
    [
        ((), True),
        ((("state", "queued"), ("state", "failed")), True),
        ((("state", "failed"),), False),
        ((("tool", "echo"), ("queue", "default")), True),
        ((("tag", "a"), ("tag", "b")), True),
        ((("tag", "a"), ("tag", "x")), False),
        ((("metadata.k", "v"),), True),
        ((("metadata.n", "1"), ("metadata.deep", '{"a":1}')), True),
        ((("metadata.n", "2"),), False),
        ((("metadata.gone", "v"),), False),
        ((("correlation_id", "c"),), True),
        ((("parent_id", JOB + "1"),), False),
        ((("schedule_id", "sch_1"),), False),
        ((("workflow_id", "wfr_1"),), False),
        ((("created_after", "2026-01-01T00:00:00Z"),), True),
        ((("created_before", "2026-01-01T00:00:00Z"),), False),
    ],
)
def test_the_filters_of_the_job_list(pairs: tuple[tuple[str, str], ...], wants: bool) -> None:
    change = change_of(record(0, 0))
    assert change is not None
    assert wanted(pairs)(change.head) is wants


def test_what_is_no_longer_true_is_not_told() -> None:
    reader = feed([0, 0], ("state", "queued"))
    add(reader, record(1, 0, state="queued"))
    add(reader, record(1, 1, state="running", event_no=2))
    assert reader.take() is None


def test_a_reader_that_stands_still_holds_little() -> None:
    reader = feed([0, 0])
    for number in range(MOST_WAITING + 1):
        add(reader, record(0, number, job=number))
    assert reader.behind and len(reader) == 0
    assert reader.take() is None


@pytest.mark.parametrize("value", [None, b"", b"{}", b"[1]", b"\xff", b'{"job":{"id":1}}'])
def test_rubbish_in_the_topic_is_passed_over(value: bytes | None) -> None:
    row = record(0, 0)
    row.value = value
    assert change_of(row) is None


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=20))
def test_ids_name_positions(position: list[int]) -> None:
    assert position_of(text_of(position), partitions=len(position)) == position


@pytest.mark.parametrize(
    "text", ["", "-", "1", "1-2-3", "1-", "A-B", "1.2", "1-z" * 3, "1-" + "z" * 13, "1-2\n", "9" * 5000]
)
def test_strange_ids_name_none(text: str) -> None:
    assert position_of(text, partitions=2) is None


def test_an_event_tells_what_happened_and_the_job_after_it() -> None:
    change = change_of(record(0, 0))
    assert change is not None
    data = msgspec.json.decode(told(change))
    assert (data["type"], data["incarnation"], data["event_no"]) == ("jobyard.job.queued.v1", 7, 1)
    assert data["actor"] == {"kind": "key", "id": "key_1"}
    assert data["job"]["links"]["self"] == f"/v1/jobs/{JOB}1"
