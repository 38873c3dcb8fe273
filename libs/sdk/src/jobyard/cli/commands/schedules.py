"""`jobyard schedules …`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobyard.cli import arguments, listing, session
from jobyard.cli.codes import UsageError
from jobyard.cli.commands.run import moment
from jobyard.cli.options import Cursor, Every, Json, Limit, Parameters
from jobyard.cli.output import Output, one_line

app = typer.Typer(help="Run jobs again and again, or at a time to come.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The id of a schedule, sch_….")]
Overlap = Annotated[
    str | None,
    typer.Option("--overlap", help="allow, skip, queue or replace: what to do while the job before has not ended."),
]
_FACTS = (
    "id", "name", "state", "version", "tool", "tool_version", "cron", "timezone", "interval_s", "at", "overlap",
    "catch_up", "starts_at", "ends_at", "jitter_s", "template", "next_fires", "last_fire", "created_at",
)  # fmt: skip
_EDITABLE = (
    "name", "template", "cron", "timezone", "interval_s", "at", "overlap", "catch_up", "starts_at", "ends_at",
    "jitter_s", "paused",
)  # fmt: skip
_FIRE = ("fire_at", "kind", "outcome", "reason", "job_id", "job_state")


@app.command("list")
def list_schedules(
    name: Annotated[str | None, typer.Option("--name", help="Of this name only.")] = None,
    limit: Limit = 20,
    every: Every = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """The newest schedules first."""
    page = listing.fetch("/v1/schedules", {"name": name}, limit=limit, every=every, cursor=cursor)
    listing.show(page, Output(json=json), ("id", "name", "tool", "when", "state", "next"), _row)


@app.command()
def show(schedule: Id, json: Json = False) -> None:
    """A schedule, with its next fires."""
    with session.connect() as client:
        _tell(client.schedules.get(schedule).document, Output(json=json))


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="NAME or NAME@VERSION.")],
    parameter: Parameters = [],  # noqa: B006 - typer copies it
    cron: Annotated[str | None, typer.Option("--cron", help='Such as "0 3 * * mon-fri", or @daily.')] = None,
    timezone: Annotated[str | None, typer.Option("--timezone", help="Of --cron, such as Europe/Berlin.")] = None,
    interval: Annotated[str | None, typer.Option("--every", help="90, 5m, 2h, 1d.")] = None,
    at: Annotated[str | None, typer.Option("--at", help="Once: RFC 3339 with zone.")] = None,
    overlap: Overlap = None,
    catch_up: Annotated[str | None, typer.Option("--catch-up", help="none, last or all of what was missed.")] = None,
    starts: Annotated[str | None, typer.Option("--starts-at", help="No fire before: RFC 3339 with zone.")] = None,
    ends: Annotated[str | None, typer.Option("--ends-at", help="No fire from then on: RFC 3339 with zone.")] = None,
    jitter: Annotated[str | None, typer.Option("--jitter", help="Delay each job by up to: 30, 5m.")] = None,
    queue: Annotated[str | None, typer.Option("--queue", help="The queue; the tool's own if not given.")] = None,
    tag: Annotated[list[str], typer.Option("--tag", help="Of its jobs; may be repeated.")] = [],  # noqa: B006
    paused: Annotated[bool, typer.Option("--paused", help="Make it, but let it not fire yet.")] = False,
    json: Json = False,
) -> None:
    """Make a schedule: one of --cron, --every and --at."""
    if [cron, interval, at].count(None) != 2:
        raise UsageError("give one of --cron, --every and --at")
    template: dict[str, Any] = {"tool": arguments.text(tool, what="TOOL")}
    template |= {"parameters": found} if (found := arguments.parameters(parameter)) else {}
    template |= {"queue": queue} if queue else {}
    template |= {"tags": tags} if (tags := arguments.texts(tag, option="--tag")) else {}
    timing: dict[str, Any] = {
        "cron": cron,
        "timezone": timezone,
        "interval_s": arguments.seconds(interval, option="--every"),
        "at": moment(at, option="--at"),
        "overlap": overlap,
        "catch_up": catch_up,
        "starts_at": moment(starts, option="--starts-at"),
        "ends_at": moment(ends, option="--ends-at"),
        "jitter_s": arguments.seconds(jitter, option="--jitter", zero=True),
        "paused": paused or None,
    }
    with session.connect() as client:
        made = client.schedules.create(arguments.text(name, what="NAME"), template, **timing)
    _tell(made.document, Output(json=json))


@app.command()
def edit(
    schedule: Id,
    change: Annotated[
        list[str], typer.Argument(metavar="MEMBER=VALUE", help="Such as cron='0 4 * * *'; null takes one away.")
    ],
    json: Json = False,
) -> None:
    """Change members of a schedule; refused if somebody else has changed it meanwhile."""
    changes = arguments.parameters(change)
    if unknown := set(changes) - set(_EDITABLE):
        raise UsageError(f"a schedule has no member {', '.join(sorted(unknown))}; known are {', '.join(_EDITABLE)}")
    with session.connect() as client:
        old = client.schedules.get(schedule)
        document = {name: old.document.get(name) for name in _EDITABLE} | changes
        kept = {name: value for name, value in document.items() if value is not None}
        _tell(client.schedules.replace(schedule, kept, if_match=old.etag).document, Output(json=json))


@app.command()
def delete(schedule: Id, json: Json = False) -> None:
    """Delete a schedule. Its jobs stay."""
    output = Output(json=json)
    with session.connect() as client:
        client.schedules.delete(schedule)
    if json:
        output.document({"id": schedule, "deleted": True})
        return
    output.say(f"{one_line(schedule)} is deleted")


@app.command()
def pause(schedule: Id, json: Json = False) -> None:
    """Stop its fires."""
    with session.connect() as client:
        _tell(client.schedules.pause(schedule).document, Output(json=json))


@app.command()
def resume(schedule: Id, json: Json = False) -> None:
    """Let it fire again, from now on."""
    with session.connect() as client:
        _tell(client.schedules.resume(schedule).document, Output(json=json))


@app.command()
def trigger(schedule: Id, overlap: Overlap = None, json: Json = False) -> None:
    """Fire now."""
    output, body = Output(json=json), {"overlap": overlap} if overlap else {}
    from jobyard.client.requests import segment

    with session.connect() as client:
        path = f"/v1/schedules/{segment(schedule, what='a schedule id')}/trigger"
        fire = client.request("POST", path, body=body, safe=False)
    if json:
        output.document(fire)
        return
    output.facts([(name, fire.get(name)) for name in _FIRE])


@app.command()
def backfill(
    schedule: Id,
    since: Annotated[str, typer.Option("--since", help="Inclusive: RFC 3339 with zone.")],
    until: Annotated[str, typer.Option("--until", help="Exclusive: RFC 3339 with zone.")],
    overlap: Overlap = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    json: Json = False,
) -> None:
    """Make good the fires of a range that have no job yet."""
    from jobyard.client.requests import segment

    output = Output(json=json)
    body: dict[str, Any] = {
        "since": moment(since, option="--since"),
        "until": moment(until, option="--until"),
        "dry_run": dry_run,
    }
    body |= {"overlap": overlap} if overlap else {}
    with session.connect() as client:
        path = f"/v1/schedules/{segment(schedule, what='a schedule id')}/backfill"
        found = client.request("POST", path, body=body, safe=True)
    if json:
        output.document(found)
        return
    output.print(f"{found.get('count')} fires{' would be' if dry_run else ''} made good")
    output.say(f"{found.get('already')} of the range had their job already")


@app.command()
def fires(schedule: Id, limit: Limit = 20, every: Every = False, cursor: Cursor = None, json: Json = False) -> None:
    """What it did, newest first."""
    from jobyard.client.requests import segment

    path = f"/v1/schedules/{segment(schedule, what='a schedule id')}/fires"
    page = listing.fetch(path, {}, limit=limit, every=every, cursor=cursor)
    listing.show(page, Output(json=json), _FIRE, lambda row: tuple(row.get(name) for name in _FIRE))


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    when = row.get("cron") or row.get("at") or f"every {row.get('interval_s')} s"
    following = row.get("next_fires") or [None]
    return row.get("id"), row.get("name"), row.get("tool"), when, row.get("state"), following[0]


def _tell(document: dict[str, Any], output: Output) -> None:
    if output.json:
        output.document(document)
        return
    output.facts([(name, document.get(name)) for name in _FACTS])
