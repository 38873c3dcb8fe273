"""Following an event stream, of one job or of all, over cuts, restarts and silence.

A stream that ends without `stream.end`, breaks, or says nothing for longer than its ping allows is opened again with
`Last-Event-ID`, so that nothing is missed and nothing comes twice. It gives up after the policy's patience without
one good connection.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

from jobyard.client import answers
from jobyard.client.effects import Answer, Flow, Request, Stream, close, emit, open_stream, read, read_all, sleep
from jobyard.client.models import Event
from jobyard.client.requests import query, segment
from jobyard.client.retrying import PASSING, Policy
from jobyard.client.sse import Message, Parser
from jobyard.errors import Refused, UnexpectedAnswer, Unreachable

SILENCE_S = 40.0
"""The server pings every 15 s; more than two missed pings mean a dead connection."""


def follow(
    job_id: str, policy: Policy, *, last_event_id: str | None = None, now: Callable[[], float] = time.monotonic
) -> Flow[None]:
    """Emits an `Event` each, the last one `stream.end`. Raises Refused or Unreachable."""
    path = f"/v1/jobs/{segment(job_id, what='a job id')}/events"
    yield from _resumed(path, (), policy, last_event_id=last_event_id, now=now)


def follow_all(
    filters: Mapping[str, object],
    policy: Policy,
    *,
    last_event_id: str | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Flow[None]:
    """Emits an `Event` for what happens to any job that the filters fit, without an end."""
    yield from _resumed("/v1/events", query(filters), policy, last_event_id=last_event_id, now=now)


def _resumed(
    path: str,
    params: tuple[tuple[str, str], ...],
    policy: Policy,
    *,
    last_event_id: str | None,
    now: Callable[[], float],
) -> Flow[None]:
    parser_id = last_event_id
    attempt, good_at = 0, now()
    while True:
        parser = Parser()
        parser.last_id = parser_id or ""
        failure: Unreachable | Refused
        try:
            stream = yield from _connect(path, params, last_event_id=parser_id)
            while data := (yield from read(stream)):
                attempt, good_at = 0, now()
                for message in parser.feed(data):
                    event = _event(message)
                    parser_id = message.id or parser_id
                    yield from emit(event)
                    if event.name == "stream.end":
                        yield from close(stream)
                        return
                # An id that came without an event says how far the server has looked.
                parser_id = parser.reached or parser_id
            yield from close(stream)
            failure = Unreachable("the event stream ended too early")
        except UnexpectedAnswer:
            raise
        except Unreachable as error:
            failure = error
        except Refused as error:
            if error.status not in PASSING:
                raise
            failure = error
        if now() - good_at > policy.patience_s:
            raise failure
        attempt += 1
        advice = failure.retry_after_s if isinstance(failure, Refused) else None
        yield from sleep(policy.backoff.delay(attempt, advice_s=advice))


def _connect(path: str, params: tuple[tuple[str, str], ...], *, last_event_id: str | None) -> Flow[Stream]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    request = Request("GET", path, params, headers=headers, read_timeout_s=SILENCE_S)
    stream = yield from open_stream(request)
    kind = stream.headers.get("content-type", "").partition(";")[0].strip()
    if stream.status == 200 and kind == "text/event-stream":
        return stream
    content = yield from read_all(stream)
    yield from close(stream)
    answer = Answer(stream.status, stream.headers, content)
    answers.check_redirect(answer, request)
    if stream.status >= 400:
        raise answers.refusal(answer, request)
    raise UnexpectedAnswer(f"{path}: {kind or 'nothing'} came instead of an event stream; is the address right?")


def _event(message: Message) -> Event:
    try:
        data = json.loads(message.data)
    except (ValueError, RecursionError):
        raise UnexpectedAnswer(f"an event of the stream is not JSON: {message.data[:80]!r}") from None
    return Event(message.id, message.name, data)
