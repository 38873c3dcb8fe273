from __future__ import annotations

import threading

import pytest
from jobyard import errors
from jobyard.client import Client
from jobyard.client.sse import MAX_EVENT, Message, Parser
from jobyard.client.testing import FakeYard

WIRE = "\ufeff: ping\r\nid: 1\revent: a\ndata: x\ndata:  y\n\nid: 2\ndata: é\r\n\r\nevent: lost\n\nretry: 2000\nid\n\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_the_parser_does_not_care_where_bytes_are_cut(size: int) -> None:
    parser, wire = Parser(), WIRE.encode()
    messages = [each for at in range(0, len(wire), size) for each in parser.feed(wire[at : at + size])]
    assert messages == [Message("1", "a", "x\n y"), Message("2", "message", "é")]
    assert (parser.last_id, parser.retry_ms) == ("", 2000)


def test_the_parser_stops_an_endless_event() -> None:
    parser = Parser()
    with pytest.raises(errors.UnexpectedAnswer):
        for _ in range(MAX_EVENT // 100_000 + 2):
            parser.feed(b"data: " + b"x" * 100_000 + b"\n")


def test_a_stream_is_followed_to_its_end(client: Client) -> None:
    job = client.submit("test.echo", parameters={"value": 1})
    events = list(job.follow())
    assert [event.name for event in events] == [
        *("job.state", "job.state", "job.log", "job.state", "job.result", "stream.end")
    ]
    assert events[-1].data == {"state": "succeeded"}


@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_a_cut_stream_goes_on_exactly_where_it_stopped(client: Client, fake: FakeYard, after: int) -> None:
    job = client.submit("test.echo")
    fake.fail("GET", r"/v1/jobs/[^/]+/events", "cut", times=2, after=after)
    ids = [event.id for event in job.follow()]
    assert ids == ["1", "2", "3", "4", "5", "6"]
    asked = [headers.get("last-event-id") for headers in fake.requests("GET", r"/v1/jobs/[^/]+/events")]
    assert asked[0] is None
    assert asked[1] == (str(after) if after else None)


def test_a_server_that_restarts_meanwhile_loses_nothing(client: Client, fake: FakeYard) -> None:
    job = client.submit("test.sleep")

    def restart() -> None:
        fake.stop()
        fake.yard.progress(job.id, 1, 2)
        fake.start()
        fake.yard.end(job.id, "succeeded")

    timer = threading.Timer(0.3, restart)
    timer.start()
    events = list(job.follow())
    timer.join()
    assert [event.id for event in events] == [str(number) for number in range(1, len(events) + 1)]
    assert "job.progress" in [event.name for event in events]


def test_following_resumes_after_an_id_of_the_callers(client: Client) -> None:
    job = client.submit("test.echo")
    assert [event.id for event in job.follow(last_event_id="4")] == ["5", "6"]


def test_following_gives_up_in_the_end(client: Client, fake: FakeYard) -> None:
    job = client.submit("test.sleep")
    fake.fail("GET", r"/v1/jobs/[^/]+/events", "drop", times=10_000)
    with pytest.raises(errors.Unreachable):
        list(job.follow())


def test_following_what_is_not_there(client: Client) -> None:
    job = client.submit("test.echo")
    job.document["id"] = "job_none"
    missing = type(job)({**job.document, "id": "job_none"}, client)
    with pytest.raises(errors.NotFound):
        next(iter(missing.follow()))


def test_leaving_early_closes_the_stream(client: Client, fake: FakeYard) -> None:
    job = client.submit("test.sleep")
    for _ in job.follow():
        break
    fake.yard.end(job.id, "succeeded")
    assert job.wait(timeout=5).succeeded


def test_all_jobs_are_followed_over_cuts(client: Client, fake: FakeYard) -> None:
    made = [client.submit("test.echo").id for _ in range(3)]
    fake.fail("GET", "/v1/events", "cut", times=2, after=2)
    seen = []
    for event in client.jobs.follow(tool="test.echo"):
        seen.append((event.id, event.data["job"]["id"]))
        if len(seen) == 9:
            break
    assert [place for place, _ in seen] == [str(number) for number in range(1, 10)]
    assert {job_id for _, job_id in seen} == set(made)


def test_an_id_without_an_event_counts_only_when_its_block_is_whole() -> None:
    parser = Parser()
    parser.feed(b"id: 7\n: ping\n\nid: 8\ndata: x\n")
    assert parser.reached == "7", "the eighth event did not come"
