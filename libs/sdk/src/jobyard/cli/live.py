"""Watching a job to its end: states, progress and log lines as they happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from jobyard.cli.codes import ExitCode, of_state
from jobyard.cli.output import Output, clean, interactive, one_line

if TYPE_CHECKING:
    from jobyard.client import Event, Job


def watch(job: Job, output: Output, *, logs: bool) -> Job:
    """Until the job is finished; returns it up to date.

    With `--json` and `logs` every event is a line on stdout. Where nobody looks at the events none are asked for.
    """
    if not logs and not interactive():
        return job.wait()
    with _view(job, output, logs=logs) as show:
        for event in job.follow():
            show(event)
    return job.wait()


@contextmanager
def _view(job: Job, output: Output, *, logs: bool) -> Iterator[Callable[[Event], None]]:
    if output.json and logs:
        yield lambda event: output.document({"event": event.name, "id": event.id, "data": event.data})
        return
    with ExitStack() as stack:
        progress = stack.enter_context(_progress(job.tool)) if interactive() else None

        def show(event: Event) -> None:
            data = event.data if isinstance(event.data, dict) else {}
            if event.name == "job.state":
                text = _state(data)
            elif event.name == "job.log":
                text = _log(data) if logs else ""
            elif event.name == "job.progress":
                text = "" if progress is not None else _step(data)
            else:
                text = ""
            if progress is not None:
                progress(event.name, data, text)
            elif text:
                output.say(text)

        yield show


@contextmanager
def _progress(title: str) -> Iterator[Callable[[str, dict[str, Any], str], None]]:
    """A bar at the bottom of the terminal, lines above it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(one_line(title), total=None)

        def update(name: str, data: dict[str, Any], text: str) -> None:
            if text:
                shown.console.print(Text(text))
            if name == "job.progress":
                done, total = _number(data.get("done")), _number(data.get("total"))
                label = one_line(f"{title} {data.get('note') or ''}", width=60)
                shown.update(task, completed=done, total=total, description=label)
            elif name == "job.state":
                shown.update(task, description=one_line(f"{title} {data.get('state')}", width=60))

        yield update


def _state(data: dict[str, Any]) -> str:
    reason = f" ({one_line(data['reason'])})" if data.get("reason") else ""
    attempt = data.get("attempt")
    again = f", attempt {attempt}" if isinstance(attempt, int) and attempt > 1 else ""
    return f"{_clock(data.get('at'))}  {one_line(data.get('state'))}{reason}{again}"


def _step(data: dict[str, Any]) -> str:
    total = f" of {one_line(data['total'])}" if data.get("total") is not None else ""
    note = f"  {one_line(data['note'])}" if data.get("note") else ""
    return f"{_clock(data.get('at'))}  {one_line(data.get('done'))}{total}{note}"


def _log(data: dict[str, Any]) -> str:
    return f"{_clock(data.get('at'))}  {log_line(data)}"


def log_line(row: dict[str, Any]) -> str:
    """One log line for people: its level where it has one, the message, the fields."""
    level = f"{row['level']}: " if row.get("stream") == "log" and row.get("level") else ""
    mark = "! " if row.get("stream") == "stderr" else ""
    fields = row.get("fields")
    extra = "  " + " ".join(f"{name}={value}" for name, value in fields.items()) if isinstance(fields, dict) else ""
    return clean(f"{mark}{level}{row.get('message', '')}{extra}").replace("\n", " ").rstrip()


def _clock(at: object) -> str:
    """The time of day of a timestamp of the API."""
    text = at if isinstance(at, str) else ""
    return one_line(text[11:19]) if len(text) > 19 else "--:--:--"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else None


def finish(job: Job, output: Output) -> ExitCode:
    """Say how the job ended, on stderr; its value goes to stdout. Returns the command's exit code."""
    code = of_state(job.state)
    took = f" in {job.data.run_ms / 1000:.1f} s" if job.data.run_ms is not None else ""
    reason = f" ({one_line(job.reason)})" if job.reason else ""
    output.say(f"{job.id} {one_line(job.state)}{reason}{took}")
    if job.duplicate_of is not None:
        output.say(f"  {job.duplicate_of} has its dedupe key; follow it: jobyard jobs watch {job.duplicate_of}")
    if job.cached_from is not None:
        output.say(f"  it did not run: {job.cached_from} had the same input (--fresh runs it)")
    if job.error is not None:
        output.say(f"  {one_line(job.error.code)}: {one_line(job.error.message or '', width=1000)}")
    if code is ExitCode.JOB_FAILED:
        output.say(f"  see what it printed: jobyard jobs logs {job.id}")
    return code
