"""`jobyard events`: what happens to jobs, as it happens."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobyard.cli import arguments, session
from jobyard.cli.codes import ExitCode
from jobyard.cli.output import Output, one_line


def events(
    state: Annotated[list[str], typer.Option("--state", help="May be repeated: any of them.")] = [],  # noqa: B006
    tool: Annotated[list[str], typer.Option("--tool", help="May be repeated: any of them.")] = [],  # noqa: B006
    queue: Annotated[list[str], typer.Option("--queue", help="May be repeated: any of them.")] = [],  # noqa: B006
    tag: Annotated[list[str], typer.Option("--tag", help="May be repeated: all of them.")] = [],  # noqa: B006
    metadata: Annotated[list[str], typer.Option("--metadata", metavar="NAME=VALUE")] = [],  # noqa: B006
    correlation: Annotated[str | None, typer.Option("--correlation", help="A correlation id.")] = None,
    after: Annotated[str | None, typer.Option("--after", metavar="ID", help="Go on after this event.")] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="End after so many events.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Each event as a line of JSON on stdout.")] = False,
) -> None:
    """Follow all jobs, until you interrupt it."""
    output = Output(json=json)
    filters: dict[str, object] = {"state": state, "tool": tool, "queue": queue, "tag": tag}
    filters |= {"metadata": arguments.metadata(metadata), "correlation_id": correlation}
    left, last = count, after
    with session.connect() as client:
        try:
            for event in client.jobs.follow(last_event_id=after, **filters):
                last = event.id or last
                if json:
                    output.document({"event": event.name, "id": event.id, "data": event.data})
                else:
                    output.print(_line(event.name, event.data if isinstance(event.data, dict) else {}))
                if left is not None and (left := left - 1) == 0:
                    return
        except KeyboardInterrupt:
            output.say(f"\nInterrupted. Go on from here: jobyard events --after {last}" if last else "\nInterrupted.")
            raise typer.Exit(ExitCode.INTERRUPTED) from None


def _line(name: str, data: dict[str, Any]) -> str:
    if name == "stream.gap":
        return "-- older events are gone; see jobyard jobs list --"
    job = data.get("job") or {}
    reason = f" ({one_line(job['reason'])})" if job.get("reason") else ""
    clock = one_line(str(data.get("at", ""))[11:19])
    return f"{clock}  {one_line(job.get('id'))}  {one_line(job.get('tool'))}  {one_line(job.get('state'))}{reason}"
