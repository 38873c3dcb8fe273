"""`jobyard dead-letters …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jobyard.cli import arguments, listing, session
from jobyard.cli.options import Cursor, Every, JobId, Json, Limit, Parameters
from jobyard.cli.output import Output, clean

app = typer.Typer(help="What failed for good: look, run it again, give it up.", no_args_is_help=True)
messages = typer.Typer(help="Records that no consumer could use; for operators.", no_args_is_help=True)
app.add_typer(messages, name="messages")

Note = Annotated[str | None, typer.Option("--note", help="Why; it is kept.")]
MessageId = Annotated[str, typer.Argument(metavar="RECORD", help="topic:partition:offset, as `list` shows it.")]
_MESSAGE = ("id", "topic", "reason", "state", "replays", "failed_at")
_MESSAGE_FACTS = (
    "id", "state", "topic", "partition", "offset", "reason", "message", "group", "failed_at", "replays", "key",
    "value_bytes", "headers", "handled",
)  # fmt: skip


@app.command("list")
def list_letters(
    state: Annotated[str | None, typer.Option("--state", help="open, replayed, discarded or all.")] = None,
    tool: Annotated[list[str], typer.Option("--tool", help="May be repeated: any of them.")] = [],  # noqa: B006
    queue: Annotated[list[str], typer.Option("--queue", help="May be repeated: any of them.")] = [],  # noqa: B006
    tag: Annotated[list[str], typer.Option("--tag", help="May be repeated: all of them.")] = [],  # noqa: B006
    limit: Limit = 20,
    every: Every = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """Jobs that failed for good, the newest first."""
    filters: dict[str, object] = {"state": state, "tool": tool, "queue": queue, "tag": tag}
    page = listing.fetch("/v1/dead-letters", filters, limit=limit, every=every, cursor=cursor)
    listing.show(page, Output(json=json), ("id", "tool", "error", "attempts", "failed", "state"), _row)


@app.command()
def show(job: JobId, json: Json = False) -> None:
    """A dead job, and what was done about it."""
    with session.connect() as client:
        _tell(client.dead_letters.get(job).document, Output(json=json))


@app.command()
def replay(job: JobId, parameter: Parameters = [], note: Note = None, json: Json = False) -> None:  # noqa: B006
    """Run it again; with -p, its parameters are those given, all of them. Many at a rate: `jobyard bulk start`."""
    parameters = arguments.parameters(parameter) or None
    with session.connect() as client:
        _tell(client.dead_letters.replay(job, parameters=parameters, note=note).document, Output(json=json))


@app.command()
def discard(job: JobId, note: Note = None, json: Json = False) -> None:
    """Give it up."""
    with session.connect() as client:
        _tell(client.dead_letters.discard(job, note=note).document, Output(json=json))


@messages.command("list")
def list_messages(
    topic: Annotated[str | None, typer.Option("--topic", help="Refused on this topic.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Refused for this reason.")] = None,
    limit: Limit = 20,
    every: Every = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """The newest records first."""
    filters = {"topic": topic, "reason": reason}
    page = listing.fetch("/v1/dead-messages", filters, limit=limit, every=every, cursor=cursor)
    listing.show(page, Output(json=json), _MESSAGE, lambda row: tuple(row.get(name) for name in _MESSAGE))


@messages.command("show")
def show_message(record: MessageId, json: Json = False) -> None:
    """A record: why it is here, its headers and its value."""
    with session.connect() as client:
        _tell_message(client.dead_messages.get(record).document, Output(json=json))


@messages.command("replay")
def replay_message(
    record: MessageId,
    value: Annotated[
        Path | None, typer.Option("--value", metavar="FILE", help="Send this file's text instead.")
    ] = None,
    note: Note = None,
    force: Annotated[bool, typer.Option("--force", help="Also when it is older than ten days.")] = False,
    json: Json = False,
) -> None:
    """Send it to its topic again, with the same key and headers."""
    text = None if value is None else arguments.readable_file(str(value)).read_text(encoding="utf-8")
    with session.connect() as client:
        found = client.dead_messages.replay(record, value=text, note=note, force=force)
        _tell_message(found.document, Output(json=json))


@messages.command("discard")
def discard_message(record: MessageId, note: Note = None, json: Json = False) -> None:
    """Give it up."""
    with session.connect() as client:
        _tell_message(client.dead_messages.discard(record, note=note).document, Output(json=json))


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    job = row.get("job") or {}
    error = job.get("error") or {}
    return (
        row.get("id"),
        job.get("tool"),
        error.get("code"),
        job.get("attempt"),
        job.get("finished_at"),
        row.get("state"),
    )


def _tell(document: dict[str, Any], output: Output) -> None:
    if output.json:
        output.document(document)
        return
    job = document.get("job") or {}
    output.facts([("id", document.get("id")), ("state", document.get("state")), ("handled", document.get("handled"))])
    output.facts([(name, job.get(name)) for name in ("tool", "tool_version", "queue", "attempt", "finished_at")])
    output.facts([(name, job.get(name)) for name in ("error", "parameters", "files", "tags", "metadata")])


def _tell_message(document: dict[str, Any], output: Output) -> None:
    if output.json:
        output.document(document)
        return
    output.facts([(name, document.get(name)) for name in _MESSAGE_FACTS])
    if document.get("value") is not None:
        output.print(clean(document["value"]))
