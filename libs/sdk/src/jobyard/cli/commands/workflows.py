"""`jobyard workflows …` and `jobyard runs …`."""

from __future__ import annotations

import json as _json
from pathlib import Path
from typing import Annotated, Any

import typer

from jobyard.cli import arguments, codes, listing, session
from jobyard.cli.codes import UsageError
from jobyard.cli.options import Cursor, Every, Json, Limit, Parameters
from jobyard.cli.output import Output, one_line

app = typer.Typer(help="Graphs of jobs that are kept under a name.", no_args_is_help=True)
runs = typer.Typer(help="Runs of workflows: start, watch, cancel, repeat.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="WORKFLOW", help="An id wfl_…, a name, or NAME@VERSION.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run, wfr_….")]
Seconds = Annotated[str | None, typer.Option("--timeout", help="Stop waiting after: 90, 5m, 2h. The run goes on.")]
State = Annotated[list[str], typer.Option("--state", help="Only these states; may be repeated.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end; the exit code says how it ended.")]
_FACTS = ("id", "name", "version", "description", "steps_total", "created_at")
_RUN = ("id", "name", "version", "state", "error", "progress", "origin_id", "created_at", "started_at", "finished_at")


@app.command("list")
def list_workflows(
    name: Annotated[str | None, typer.Option("--name", help="Versions of this name.")] = None,
    limit: Limit = 20,
    every: Every = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """The newest versions first."""
    page = listing.fetch("/v1/workflows", {"name": name}, limit=limit, every=every, cursor=cursor)
    listing.show(page, Output(json=json), ("id", "name", "version", "steps", "created"), _workflow_row)


@app.command()
def show(workflow: Name, json: Json = False) -> None:
    """A workflow with its steps."""
    with session.connect() as client:
        _tell(client.workflows.get(workflow).document, Output(json=json), _FACTS, steps="steps")


@app.command()
def put(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON: name, steps, and what else a workflow has.")],
    json: Json = False,
) -> None:
    """Store a workflow, or a new version of one."""
    with session.connect() as client:
        _tell(client.workflows.put(_read(file)).document, Output(json=json), _FACTS)


@app.command()
def delete(workflow: Annotated[str, typer.Argument(metavar="ID", help="wfl_….")], json: Json = False) -> None:
    """Delete one version. Its runs go on."""
    output = Output(json=json)
    with session.connect() as client:
        client.workflows.delete(workflow)
    output.document({"deleted": workflow}) if json else output.say(f"deleted {workflow}")


@runs.command()
def start(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW|FILE", help="A stored workflow, or a .json file.")],
    parameter: Parameters = [],  # noqa: B006 - typer copies it
    wait: Wait = False,
    timeout: Seconds = None,
    json: Json = False,
) -> None:
    """Start a run; -p gives its input."""
    given = arguments.parameters(parameter)
    graph: Any = _read(Path(workflow)) if workflow.endswith(".json") else workflow
    output = Output(json=json)
    with session.connect() as client:
        run = client.runs.start(graph, input=given or None)
        if wait:
            output.say(f"{run.id} has begun; follow it with: jobyard runs show {run.id}")
            run = client.runs.wait(run.id, timeout_s=arguments.seconds(timeout, option="--timeout"))
        _tell(run.document, output, _RUN)
    if wait:
        raise typer.Exit(codes.of_state(run.state))


@runs.command("list")
def list_runs(
    state: State = [],  # noqa: B006
    name: Annotated[str | None, typer.Option("--name", help="Runs of this name.")] = None,
    limit: Limit = 20,
    every: Every = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """The newest runs first."""
    page = listing.fetch("/v1/workflow-runs", {"state": state, "name": name}, limit=limit, every=every, cursor=cursor)
    listing.show(page, Output(json=json), ("id", "name", "state", "steps", "jobs", "created"), _run_row)


@runs.command("show")
def show_run(run: RunId, state: State = [], json: Json = False) -> None:  # noqa: B006
    """A run and its steps."""
    output = Output(json=json)
    with session.connect() as client:
        found = client.runs.get(run)
        steps = list(client.runs.steps(run, state=state or None))
    if json:
        plain = [{name: getattr(step, name) for name in step.__struct_fields__} for step in steps]
        times = ("started_at", "finished_at")
        rows = [row | {name: row[name] and row[name].isoformat() for name in times} for row in plain]
        output.document(found.document | {"steps": rows, "next_cursor": None, "has_more": False})
        return
    _tell(found.document, output, _RUN)
    columns = ("step", "tool", "state", "reason", "items", "job")
    output.table(columns, [_step_row(step) for step in steps])


@runs.command("wait")
def wait_for(run: RunId, timeout: Seconds = None, json: Json = False) -> None:
    """Wait until a run has ended; the exit code says how."""
    with session.connect() as client:
        ended = client.runs.wait(run, timeout_s=arguments.seconds(timeout, option="--timeout"))
    _tell(ended.document, Output(json=json), _RUN)
    raise typer.Exit(codes.of_state(ended.state))


@runs.command()
def cancel(run: RunId, json: Json = False) -> None:
    """Cancel all of a run."""
    with session.connect() as client:
        _tell(client.runs.cancel(run).document, Output(json=json), _RUN)


@runs.command()
def retry(
    run: RunId,
    step: Annotated[list[str], typer.Option("--from", help="Begin at this step; may be repeated.")] = [],  # noqa: B006
    parameter: Parameters = [],  # noqa: B006
    json: Json = False,
) -> None:
    """Run again what did not succeed, or from a step on; what succeeded before is kept."""
    given = arguments.parameters(parameter)
    with session.connect() as client:
        _tell(client.runs.retry(run, steps=step, input=given or None).document, Output(json=json), _RUN)


@runs.command()
def replay(run: RunId, parameter: Parameters = [], json: Json = False) -> None:  # noqa: B006
    """Run all of it again; -p gives another input."""
    given = arguments.parameters(parameter)
    with session.connect() as client:
        _tell(client.runs.replay(run, input=given or None).document, Output(json=json), _RUN)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = _json.loads(file.read_bytes())
    except (_json.JSONDecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{file} holds no JSON object")
    return found


def _tell(document: dict[str, Any], output: Output, facts: tuple[str, ...], *, steps: str | None = None) -> None:
    if output.json:
        output.document(document)
        return
    rows = [(name, document[name]) for name in facts if document.get(name) not in (None, "")]
    output.table(
        ("", ""), [(name, one_line(value if isinstance(value, str) else _json.dumps(value))) for name, value in rows]
    )
    if steps is not None:
        output.pretty(document.get(steps))


def _workflow_row(row: dict[str, Any]) -> tuple[object, ...]:
    return row.get("id"), one_line(row.get("name")), row.get("version"), row.get("steps_total"), row.get("created_at")


def _run_row(row: dict[str, Any]) -> tuple[object, ...]:
    progress = row.get("progress") or {}
    steps, jobs = (f"{progress.get(f'{what}_done')}/{progress.get(what)}" for what in ("steps", "jobs"))
    return row.get("id"), one_line(row.get("name")), row.get("state"), steps, jobs, row.get("created_at")


def _step_row(step: Any) -> tuple[object, ...]:
    items = f"{step.items['done']}/{step.items['total']}" if step.items else ""
    return one_line(step.name), one_line(step.tool), step.state, step.reason or "", items, step.job_id or ""
