"""The first real job: upload a table, profile it, watch it run, show what came out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from importlib import resources
from pathlib import Path
from typing import Any

from jobyard import AsyncClient, AsyncJob, Event
from jobyard.errors import JobyardError

from jobyard_local import summary
from jobyard_local.console import Console

TOOL = "table.profile"
LONGEST_S = 120.0


class JobDidNotSucceed(Exception):
    """The first job ended otherwise, or could not be asked for; the text says why."""


async def run_first_job(*, url: str, key: str, console: Console) -> None:
    """Returns once the result was printed; raises `JobDidNotSucceed`."""
    table = Path(str(resources.files("jobyard_local") / "data" / "flights.csv"))
    console.line()
    console.line(f"The first job: {TOOL} on {table.name} (what it is: {table.with_suffix('.md').name} beside it)")
    try:
        async with AsyncClient(url, api_key=key, resume=False) as client:
            file = await client.files.upload(table, content_type="text/csv", progress=_bar(console, "uploading"))
            console.step(f"uploaded {file.name} as {file.id} ({summary.size(file.size)}, sha256 {file.sha256})")
            job = await client.submit(TOOL, files={"data": file.id}, tags=["first-light"])
            console.step(f"submitted {job.id}, trace {job.data.trace_id}")
            await _follow(job, console=console)
            await job.wait(timeout=LONGEST_S)
            if not job.succeeded:
                raise JobDidNotSucceed(f"the first job ended as {job.state}: {_why(job)}")
            result = await job.result()
    except (JobyardError, OSError) as error:
        raise JobDidNotSucceed(f"the first job could not be made: {type(error).__name__}: {error}") from error
    console.line()
    for line in summary.profile(result.value):
        console.line(line)
    console.line()
    for output in result.files:
        console.line(f"output file  {output.name} ({summary.size(output.size)})  {output.url}")
    console.line(f"trace id     {job.data.trace_id}")
    waited, ran = summary.number(job.data.wait_ms), summary.number(job.data.run_ms)
    console.line(f"job          {job.id} {job.state}, waited {waited} ms, ran {ran} ms")


async def _follow(job: AsyncJob, *, console: Console) -> None:
    """States, progress and log lines as they happen."""
    events: AsyncIterator[Event] = job.follow()
    async for event in events:
        data: Any = event.data if isinstance(event.data, dict) else {}
        if event.name == "job.state":
            reason = f" ({data['reason']})" if data.get("reason") else ""
            console.step(f"  {data.get('state')}{reason}")
        elif event.name == "job.progress":
            console.step(f"  {_progress(data)}")
        elif event.name == "job.log":
            console.step(f"  {data.get('level') or data.get('stream')}: {data.get('message')}")


def _progress(data: dict[str, Any]) -> str:
    done, total, note = data.get("done"), data.get("total"), data.get("note") or ""
    if isinstance(done, int | float) and isinstance(total, int | float) and total:
        filled = round(20 * min(done / total, 1))
        return f"[{'#' * filled}{'.' * (20 - filled)}] {done:g}/{total:g} {note}".rstrip()
    return f"{done} {note}".strip()


def _bar(console: Console, what: str) -> Callable[[int, int], None]:
    told = -1

    def report(done: int, total: int) -> None:
        nonlocal told
        share = 100 * done // total if total else 100
        if share // 50 > told // 50 or told < 0:
            told = share
            console.step(f"  {what} {share} %")

    return report


def _why(job: AsyncJob) -> str:
    if job.error is not None:
        return f"{job.error.code}: {job.error.message}"
    return job.reason or "no reason was given"
