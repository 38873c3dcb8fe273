"""Follow one job: replay what happened, then what happens, to the end.

The executor's lifecycle is the truth about events, and the topics say when to look again; lines come from the monitor
(what was) and from the topic (what comes). Nothing of a stream is kept here once it is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec
from jobyard_common.contracts.jobs import JobEvent
from jobyard_common.contracts.output import OutputPack
from jobyard_common.contracts.topics import JOBS_OUTPUT
from jobyard_common.contracts.wire import WireError, decode
from jobyard_common.http.problems import Problem
from jobyard_common.messaging.inbound import Inbound
from jobyard_common.telemetry import metrics

from jobyard_gateway.domain import stream
from jobyard_gateway.domain.permissions import Principal
from jobyard_gateway.domain.stream import Merge, Position, frame
from jobyard_gateway.handlers.live import Follower, Hub
from jobyard_gateway.handlers.read_jobs import JobReader
from jobyard_gateway.outbound.answers import Answer
from jobyard_gateway.outbound.monitor import Monitor

PING_S = 15.0
LOOK_AGAIN_S = 3.0
WAITING_LOOK_S = 0.25
RESULT_CUT = 64 * 1024
MOST_OF_A_TENANT = 500
PING = b": ping\n\n"
HELLO = b"retry: 2000\n\n"


class Streams:
    def __init__(self, hub: Hub, reader: JobReader, monitor: Monitor, *, monotonic: Callable[[], float]) -> None:
        self._hub = hub
        self._reader = reader
        self._monitor = monitor
        self._monotonic = monotonic
        self._open: dict[str, int] = {}

    async def open(
        self, job_id: str, principal: Principal, *, last_event_id: str | None, only_logs: bool
    ) -> AsyncIterator[bytes]:
        """The frames of the stream, once it is certain that there is such a job.

        Raises:
            Problem: not_found, unavailable, or rate_limited when the tenant holds too many streams.
        """
        await self._reader.exists(job_id, principal)
        if self._open.get(principal.tenant, 0) >= MOST_OF_A_TENANT:
            raise Problem("rate_limited", f"More than {MOST_OF_A_TENANT} open streams.", headers={"Retry-After": "5"})
        return self._frames(job_id, principal, Merge(stream.position(last_event_id)), only_logs=only_logs)

    async def _frames(
        self, job_id: str, principal: Principal, merge: Merge, *, only_logs: bool
    ) -> AsyncIterator[bytes]:
        tenant = principal.tenant
        self._open[tenant] = self._open.get(tenant, 0) + 1
        metrics.STREAMS_OPEN.inc()
        try:
            with self._hub.following(job_id) as follower:
                yield HELLO
                async for event, place, data in self._merged(job_id, principal, merge, follower):
                    if not only_logs or event in (stream.LOG_EVENT, stream.END_EVENT):
                        yield PING if event == "" else frame(event, place, data)
                    elif event == "":
                        yield PING
        finally:
            metrics.STREAMS_OPEN.dec()
            self._open[tenant] -= 1
            if not self._open[tenant]:
                del self._open[tenant]

    async def _merged(
        self, job_id: str, principal: Principal, merge: Merge, follower: Follower
    ) -> AsyncIterator[tuple[str, Position, bytes]]:
        """Events in their order; one with an empty name is a ping."""
        tail = merge.at.tail
        look, read_lines, waiting_since, pinged = True, True, None, self._monotonic()
        while not self._hub.closing.is_set():
            if look:
                look = not await self._read_rows(job_id, principal, merge)
            if read_lines:
                read_lines = False
                await self._read_lines(job_id, principal, merge, within_s=self._left_s(merge, waiting_since))
            waited_s = 0.0 if waiting_since is None else self._monotonic() - waiting_since
            for event, place, data in merge.ready(waited_s=waited_s):
                waiting_since = None
                yield event, place, data
            if merge.finished:
                async for last in self._end(job_id, principal, merge, tail):
                    yield last
                return
            if merge.awaited is not None and waiting_since is None:
                waiting_since = self._monotonic()
            left_s = self._left_s(merge, waiting_since)
            timeout_s = LOOK_AGAIN_S if left_s is None else min(WAITING_LOOK_S, left_s)
            if not await follower.news(timeout_s=timeout_s):
                look = True
                read_lines = waiting_since is not None
            if follower.missed:
                follower.missed, look, read_lines = False, True, True
            for record in follower.take():
                look = _take(record, merge) or look
            if self._monotonic() - pinged > PING_S:
                pinged = self._monotonic()
                yield "", merge.at, b""

    def _left_s(self, merge: Merge, since: float | None) -> float | None:
        """How long the next event still waits; None if it does not."""
        return None if since is None else max(0.0, since + merge.patience_s - self._monotonic())

    async def _read_rows(self, job_id: str, principal: Principal, merge: Merge) -> bool:
        cursor: str | None = None
        try:
            while True:
                params = {"limit": "200"} | ({"cursor": cursor} if cursor else {})
                page = await self._reader.part(job_id, "events", principal, params)
                rows, cursor = stream.rows_of(page.body)
                for row in rows:
                    merge.add_row(row)
                if cursor is None:
                    return True
        except Problem:
            return False

    async def _read_lines(self, job_id: str, principal: Principal, merge: Merge, *, within_s: float | None) -> None:
        """What the monitor has; without it a stream still has every event and what comes from now on."""
        cursor: str | None = None
        with contextlib.suppress(Problem, TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    params = {"limit": "200", "after_seq": str(merge.at.seq), "with": "seen"}
                    params |= {"cursor": cursor} if cursor else {}
                    page = await self._monitor.get(f"/v1/jobs/{job_id}/logs", principal, params)
                    lines, cursor = stream.logs_of(page.body)
                    for line in lines:
                        merge.add_output(line)
                    if cursor is None:
                        merge.seen(int(page.headers.get("x-jobyard-seen-seq", "0")))
                        return

    async def _end(
        self, job_id: str, principal: Principal, merge: Merge, tail: int
    ) -> AsyncIterator[tuple[str, Position, bytes]]:
        assert merge.last is not None
        at = merge.at
        if tail < stream.RESULT and (result := await self._result(job_id, principal)) is not None:
            yield stream.RESULT_EVENT, at._replace(tail=stream.RESULT), result
        if tail < stream.END:
            data = msgspec.json.encode({"state": merge.last.state})
            yield stream.END_EVENT, at._replace(tail=stream.END), data

    async def _result(self, job_id: str, principal: Principal) -> bytes | None:
        for _ in range(5):
            try:
                return cut(await self._reader.part(job_id, "result", principal))
            except Problem as problem:
                if problem.code != "unavailable":
                    return None
            await asyncio.sleep(0.5)
        return None


def cut(answer: Answer) -> bytes:
    """The result with at most 64 KiB of each output."""
    body = answer.body
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    changed = False
    for name in ("stdout", "stderr"):
        if len(members.get(name, b"")) > RESULT_CUT:
            text = msgspec.json.decode(members[name])
            shorter = text.encode()[:RESULT_CUT].decode(errors="ignore")
            members[name], changed = msgspec.Raw(msgspec.json.encode(shorter)), True
    if not changed:
        return body
    members["truncated"] = msgspec.Raw(b"true")
    return msgspec.json.encode(members)


def _take(record: Inbound, merge: Merge) -> bool:
    """Take a record in; True if it says that the lifecycle has grown."""
    if record.topic != JOBS_OUTPUT.name:
        try:
            event = decode(JobEvent, record.value or b"")
        except WireError:
            return True
        merge.expect(event.event_no, event.output_seq)
        return True
    if record.value is not None:
        try:
            pack = decode(OutputPack, record.value)
        except WireError:
            return False
        for output in stream.outputs_of(pack):
            merge.add_output(output)
        return merge.last is None or pack.attempt > merge.last.attempt
    return False
