"""Streams across gateways: what one began another goes on with, and nothing is missing that comes late."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from jobyard_common.contracts.ids import new_id


def shown(job_id: str, state: str) -> dict[str, Any]:
    return {"id": job_id, "state": state, "version": 1, "trace_id": "a" * 32, "correlation_id": "c"}


def row(number: int, state: str, output_seq: int, attempt: int = 1) -> dict[str, Any]:
    return {"seq": number, "state": state, "attempt": attempt, "incarnation": 5, "output_seq": output_seq}


def line(n: int) -> dict[str, Any]:
    at = "2026-01-01T00:00:00.000Z"
    return {"seq": 10**9 + n, "at": at, "attempt": 1, "stream": "stdout", "message": f"line {n}"}


async def events(running: Any, path: str, *, last: str | None = None, most: int = 100) -> list[tuple[str, str]]:
    """Names and ids of a stream, up to its end or the first `most`."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    found: list[tuple[str, str]] = []
    parts: dict[str, str] = {}
    async with asyncio.timeout(20), running.http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for text in answer.aiter_lines():
            name, _, value = text.partition(": ")
            if text:
                parts[name] = value
            elif "event" in parts:
                json.loads(parts["data"])
                found.append((parts["event"], parts["id"]))
                parts = {}
                if len(found) == most:
                    break
    return found


def test_a_stream_opened_after_the_end_waits_for_lines_that_come_late(yard: Any) -> None:
    job_id = new_id("job")

    async def story() -> None:
        yard.stand_in.jobs[job_id] = shown(job_id, "succeeded")
        yard.stand_in.events[job_id] = [row(1, "queued", 0, 0), row(2, "running", 0), row(3, "succeeded", 10**9 + 4)]
        yard.stand_in.lines = [line(1)]
        async with yard.running() as running:
            following = asyncio.create_task(events(running, f"/v1/jobs/{job_id}/events"))
            await asyncio.sleep(1.6)
            assert not following.done()
            yard.stand_in.lines += [line(2), line(3)]
            # The fourth was progress, which is no line.
            yard.stand_in.seen_seq = 10**9 + 4
            names = [name for name, _ in await following]
            assert names == ["job.state"] * 2 + ["job.log"] * 3 + ["job.state", "job.result", "stream.end"]

    asyncio.run(story())


def test_any_gateway_goes_on_where_another_stopped(yard: Any) -> None:
    job_id = new_id("job")
    path = f"/v1/jobs/{job_id}/events"

    async def story() -> None:
        yard.stand_in.jobs[job_id] = shown(job_id, "succeeded")
        yard.stand_in.events[job_id] = [
            row(1, "queued", 0, 0), row(2, "running", 0), row(3, "retry_wait", 10**9 + 2), row(4, "failed", 10**9 + 2),
        ]  # fmt: skip
        yard.stand_in.lines = [line(1), line(2)]
        async with yard.running(instance_id="one") as one, yard.running(instance_id="two") as two:
            whole = await events(one, path)
            assert whole[0][1].startswith("5."), "the incarnation is in every id"
            assert len({place for _, place in whole}) == len(whole) == 8
            assert await events(two, path) == whole
            for cut in range(1, len(whole)):
                head = await events(one, path, most=cut)
                assert head + await events(two, path, last=head[-1][1]) == whole
        async with yard.running(instance_id="one") as restarted:
            assert await events(restarted, path, last=whole[3][1]) == whole[4:]

    asyncio.run(story())
