"""`jobyard bulk …`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobyard.cli import arguments, listing, session
from jobyard.cli.codes import UsageError
from jobyard.cli.commands.run import created, moment
from jobyard.cli.options import (
    CreatedAfter,
    CreatedBefore,
    Cursor,
    Every,
    Json,
    Limit,
    ParentId,
    RunId,
    ScheduleId,
)
from jobyard.cli.output import Output

app = typer.Typer(help="Cancel, retry, replay, reschedule or discard many jobs at once.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="OPERATION", help="The id of a bulk operation, blk_….")]
_FACTS = (
    "id", "action", "state", "matched", "seen", "done", "refused", "refused_sample", "waits_for", "rate_per_s", "note",
    "created_at", "finished_at",
)  # fmt: skip
_ROW = ("id", "action", "state", "matched", "done", "created_at")


@app.command()
def start(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="cancel, retry, replay, reschedule or discard.")],
    ids: Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help="These jobs; else a filter.")] = None,
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
    dead: Annotated[bool, typer.Option("--dead", help="Only open dead letters.")] = False,
    rate: Annotated[float | None, typer.Option("--rate", help="At most so many jobs a second.")] = None,
    run_at: Annotated[str | None, typer.Option("--run-at", help="For reschedule: RFC 3339 with zone.")] = None,
    note: Annotated[str | None, typer.Option("--note", help="Why; it is kept.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would touch.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is done.")] = False,
    json: Json = False,
) -> None:
    """Start a bulk operation over the jobs that a filter finds, or over the ids given."""
    found: dict[str, Any] = {"state": state, "tool": tool, "queue": queue, "tag": tag}
    found |= {"metadata": arguments.metadata(metadata), "correlation_id": correlation, "schedule_id": schedule}
    found |= {"workflow_id": run, "parent_id": parent, **created(after, before)}
    chosen = {name: value for name, value in found.items() if value}
    if bool(ids) == bool(chosen or dead):
        raise UsageError("name jobs, or filter by --state, --tool, --queue, --tag, --metadata, … or --dead")
    what: dict[str, Any] = {
        "ids": ids or None,
        "filter": None if ids else chosen,
        "dead": dead or None,
        "rate_per_s": rate,
        "run_at": moment(run_at),
        "note": None if note is None else arguments.text(note, what="--note"),
    }
    output = Output(json=json)
    with session.connect() as client:
        if dry_run:
            _preview(client.bulk.preview(action, **what), output)
            return
        made = client.bulk.start(action, **what)
        _tell((client.bulk.wait(made.id) if wait else made).document, output)


@app.command("list")
def list_operations(
    state: Annotated[str | None, typer.Option("--state", help="running, done or aborted.")] = None,
    limit: Limit = 20,
    every: Every = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """The newest operations first."""
    page = listing.fetch("/v1/bulk-operations", {"state": state}, limit=limit, every=every, cursor=cursor)
    listing.show(page, Output(json=json), _ROW, lambda row: tuple(row.get(name) for name in _ROW))


@app.command()
def show(operation: Id, json: Json = False) -> None:
    """How far an operation is."""
    with session.connect() as client:
        _tell(client.bulk.get(operation).document, Output(json=json))


@app.command()
def abort(operation: Id, json: Json = False) -> None:
    """Stop an operation. What is done stays done."""
    with session.connect() as client:
        _tell(client.bulk.abort(operation).document, Output(json=json))


def _preview(found: Any, output: Output) -> None:
    if output.json:
        output.document({"matched": found.matched, "matched_capped": found.matched_capped, "sample": found.sample})
        return
    output.print(f"{'more than ' if found.matched_capped else ''}{found.matched} jobs")
    columns = ("id", "tool", "state", "created_at")
    output.table(columns, [[row.get(name) for name in columns] for row in found.sample])


def _tell(document: dict[str, Any], output: Output) -> None:
    if output.json:
        output.document(document)
        return
    output.facts([(name, document.get(name)) for name in _FACTS])
