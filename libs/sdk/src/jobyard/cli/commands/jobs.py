"""`jobyard jobs …`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobyard.cli import arguments, listing, live, results, session
from jobyard.cli.codes import ExitCode, UsageError
from jobyard.cli.commands.run import created, job_summary, moment
from jobyard.cli.options import (
    CreatedAfter,
    CreatedBefore,
    Cursor,
    Download,
    Every,
    JobId,
    Json,
    Limit,
    Parameters,
    ParentId,
    RunId,
    ScheduleId,
)
from jobyard.cli.output import Output, one_line

app = typer.Typer(help="List, watch and steer jobs.", no_args_is_help=True)

_FACTS = (
    "tool",
    "tool_version",
    "queue",
    "priority",
    "attempt",
    "max_attempts",
    "tags",
    "metadata",
    "parameters",
    "files",
)
_TIMES = ("created_at", "run_at", "queued_at", "started_at", "finished_at", "wait_ms", "run_ms", "worker", "trace_id")
_MORE = ("correlation_id", "parent_id", "origin_id")


@app.command("list")
def list_jobs(
    state: Annotated[list[str], typer.Option("--state", help="May be repeated: any of them.")] = [],  # noqa: B006
    tool: Annotated[list[str], typer.Option("--tool", help="May be repeated: any of them.")] = [],  # noqa: B006
    queue: Annotated[list[str], typer.Option("--queue", help="May be repeated: any of them.")] = [],  # noqa: B006
    tag: Annotated[list[str], typer.Option("--tag", help="May be repeated: all of them.")] = [],  # noqa: B006
    metadata: Annotated[list[str], typer.Option("--metadata", metavar="NAME=VALUE")] = [],  # noqa: B006
    correlation: Annotated[str | None, typer.Option("--correlation", help="A correlation id.")] = None,
    schedule: ScheduleId = None,
    run: RunId = None,
    parent: ParentId = None,
    after: CreatedAfter = None,
    before: CreatedBefore = None,
    limit: Limit = 20,
    every: Every = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """The newest jobs first."""
    filters: dict[str, object] = {"state": state, "tool": tool, "queue": queue, "tag": tag}
    filters |= {"metadata": arguments.metadata(metadata), "correlation_id": correlation, "schedule_id": schedule}
    filters |= {"workflow_id": run, "parent_id": parent, **created(after, before)}
    page = listing.fetch("/v1/jobs", filters, limit=limit, every=every, cursor=cursor)
    listing.show(page, Output(json=json), ("id", "tool", "state", "attempt", "created"), job_summary)


@app.command()
def show(job: JobId, json: Json = False) -> None:
    """A job as it is now."""
    output = Output(json=json)
    with session.connect() as client:
        document = client.jobs.get(job).document
    if json:
        output.document(document)
        return
    state = f"{document.get('state')}" + (f" ({document['reason']})" if document.get("reason") else "")
    error = document.get("error") or {}
    output.facts([("id", document.get("id")), ("state", state)])
    output.facts([(name, document.get(name)) for name in (*_FACTS, *_TIMES, *_MORE)])
    output.facts(
        [("progress", document.get("progress")), ("error", error and f"{error['code']}: {error.get('message')}")]
    )


@app.command()
def watch(
    job: JobId,
    json: Annotated[bool, typer.Option("--json", help="Each event as a line of JSON on stdout.")] = False,
) -> None:
    """Follow a job to its end: states, progress, log lines. The exit code is the job's."""
    output = Output(json=json)
    with session.connect() as client:
        found = client.jobs.get(job)
        try:
            found = live.watch(found, output, logs=True)
        except KeyboardInterrupt:
            output.say(f"\nInterrupted. {found.id} goes on; follow it: jobyard jobs watch {found.id}")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        if json:
            output.document({"event": "job.finished", "id": "", "data": found.document})
        raise typer.Exit(live.finish(found, output))


@app.command()
def cancel(job: JobId, json: Json = False) -> None:
    """Ask for the end of a job."""
    _act(job, "cancel", None, Output(json=json))


@app.command()
def retry(job: JobId, json: Json = False) -> None:
    """Run a failed, cancelled or expired job again, or end its pause before the next attempt."""
    _act(job, "retry", None, Output(json=json))


@app.command()
def replay(job: JobId, parameter: Parameters = [], json: Json = False) -> None:  # noqa: B006
    """A new job from a finished one; -p changes single parameters of it."""
    changed = arguments.parameters(parameter)
    body = None
    if changed:
        with session.connect() as client:
            body = {"parameters": {**client.jobs.get(job).data.parameters, **changed}}
    _act(job, "replay", body, Output(json=json))


@app.command()
def reschedule(
    job: JobId,
    run_at: Annotated[str | None, typer.Option("--run-at", help="RFC 3339 with zone.")] = None,
    delay: Annotated[str | None, typer.Option("--delay", help="From now: 90, 5m, 2h, 1d.")] = None,
    json: Json = False,
) -> None:
    """Move a job that waits for its time."""
    if (run_at is None) == (delay is None):
        raise UsageError("reschedule takes --run-at or --delay")
    delay_s = arguments.seconds(delay, option="--delay", zero=True)
    _act(job, "reschedule", {"run_at": moment(run_at)} if delay_s is None else {"delay_s": delay_s}, Output(json=json))


@app.command()
def submit(
    path: Annotated[
        str, typer.Argument(metavar="FILE", help="One submit a line as JSON, or one list of them; - reads stdin.")
    ],
    json: Json = False,
) -> None:
    """Submit many jobs; prints an id for each, in their order. A refused one stops no other."""
    output, items = Output(json=json), arguments.documents(path)
    with session.connect() as client, session.patient_interrupts():
        found = client.submit_many(items)
    refused = [item for item in found if not item.accepted]
    if json:
        rows = [{"index": item.index, "job_id": item.job_id, "problem": item.problem} for item in found]
        output.document({"accepted": len(found) - len(refused), "rejected": len(refused), "items": rows})
    for item in () if json else found:
        output.print(item.job_id if item.accepted and item.job_id else "-")
    for item in refused:
        problem = item.problem or {}
        where = "; ".join(f"{row.get('pointer')}: {row.get('message')}" for row in problem.get("errors", [])[:3])
        output.say(f"item {item.index}: {one_line(problem.get('code'))} {one_line(where or problem.get('detail'))}")
    raise typer.Exit(ExitCode.REFUSED if refused else ExitCode.DONE)


def _act(job_id: str, verb: str, body: dict[str, Any] | None, output: Output) -> None:
    with session.connect() as client:
        document = client.drive(client.operations.act(job_id, verb, body))
    if output.json:
        output.document(document)
        return
    output.print(str(document["id"]))
    output.say(f"{one_line(document['state'])}; follow it: jobyard jobs watch {document['id']}")


@app.command()
def result(job: JobId, download: Download = None, json: Json = False) -> None:
    """What a finished job returned."""
    output = Output(json=json)
    with session.connect() as client:
        document = results.result_document(client, job)
        if download is not None:
            results.fetch_files(client, document, download, output)
    if json:
        output.document(document)
        return
    output.say(f"{one_line(document.get('job_id'))} {one_line(document.get('state'))}")
    error = document.get("error")
    if isinstance(error, dict):
        output.say(f"  {one_line(error.get('code'))}: {one_line(error.get('message'), width=1000)}")
    results.show_value(document, output)


@app.command()
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more until the job ends.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document; with --follow one a line.")] = False,
) -> None:
    """What a job printed and logged."""
    output = Output(json=json)
    with session.connect() as client:
        if follow:
            for event in client.jobs.get(job).follow():
                if event.name == "job.log" and isinstance(event.data, dict):
                    _line(event.data, output)
            return
        from jobyard.client.requests import segment

        path = f"/v1/jobs/{segment(job, what='a job id')}/logs"
        page = listing.fetch_with(client, path, {}, limit=200, every=True, cursor=None)
    if json:
        output.document(page)
        return
    for row in page["data"]:
        _line(row, output)


def _line(row: dict[str, Any], output: Output) -> None:
    if output.json:
        output.document(row)
    else:
        output.print(live.log_line(row))


@app.command()
def explain(job: JobId, json: Json = False) -> None:
    """Why a job is in its state, and what it waits for."""
    output = Output(json=json)
    with session.connect() as client:
        document = client.drive(client.operations.explain(job))
    if json:
        output.document(document)
        return
    output.facts([(name, document.get(name)) for name in ("state", "reason", "since")])
    for row in document.get("waiting_for") or []:
        until = f" until {row['until']}" if row.get("until") else ""
        output.print(f"waits for {one_line(row.get('kind'))}: {one_line(row.get('detail'))}{one_line(until)}")


@app.command()
def events(job: JobId, json: Json = False) -> None:
    """A job's life so far, one line an event."""
    _rows(job, "events", Output(json=json), ("at", "state", "reason", "attempt", "actor"))


@app.command()
def attempts(job: JobId, json: Json = False) -> None:
    """The attempts of a job."""
    _rows(job, "attempts", Output(json=json), ("attempt", "started_at", "finished_at", "error", "worker"))


def _rows(job_id: str, what: str, output: Output, columns: tuple[str, ...]) -> None:
    from jobyard.client.requests import segment

    path = f"/v1/jobs/{segment(job_id, what='a job id')}/{what}"
    page = listing.fetch(path, {}, limit=None, every=True, cursor=None)
    listing.show(page, output, columns, lambda row: tuple(_cell(row.get(column)) for column in columns))


def _cell(value: object) -> object:
    if isinstance(value, dict):
        return ":".join(str(value[name]) for name in ("kind", "id", "code", "message") if value.get(name))
    return value
