"""`jobyard files …`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobyard.cli import arguments, listing, session
from jobyard.cli.codes import UsageError
from jobyard.cli.options import Cursor, Every, FileId, Json, Limit
from jobyard.cli.output import Output, clean, one_line

if TYPE_CHECKING:
    from jobyard.client import Client

app = typer.Typer(help="Upload, download and list files.", no_args_is_help=True)


@app.command()
def put(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The file to upload.")],
    name: Annotated[str | None, typer.Option("--name", help="Its name on the server.")] = None,
    content_type: Annotated[str | None, typer.Option("--type", help="Its content type, such as text/csv.")] = None,
    json: Json = False,
) -> None:
    """Upload a file. Repeat the command after an interruption: it goes on where it stopped."""
    output, source = Output(json=json), arguments.readable_file(path)
    for given, option in ((name, "--name"), (content_type, "--type")):
        if given is not None:
            arguments.text(given, what=option)
    with session.connect() as client:
        file_id = session.upload(client, source, output, name=name, kind=content_type).id
        document = _document(client, file_id) if json else None
    if document is not None:
        output.document(document)
        return
    output.print(file_id)


@app.command()
def get(
    file: FileId,
    to: Annotated[
        str | None, typer.Option("--output", "-o", metavar="PATH", help="Where to; `-` is stdout; default: its name.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file of that name.")] = False,
    json: Json = False,
) -> None:
    """Download a file. The SHA-256 is checked; a broken download goes on when repeated."""
    from jobyard.client import downloading

    output = Output(json=json)
    if to == "-" and json:
        raise UsageError("--output - and --json both want stdout")
    with session.connect() as client:
        if to == "-":
            client.drive(downloading.content(file, client.operations.policy, write=sys.stdout.buffer.write))
            sys.stdout.buffer.flush()
            return
        target = Path(to) if to is not None else None
        if target is None or target.is_dir():
            found = client.files.get(file)
            target = (target or Path()) / downloading.safe_name(found.name or "", fallback=file)
            if target.exists() and not force:
                raise UsageError(f"{str(target)!r} is there already; name another by --output, or use --force")
        meta = session.download(client, file, target, output)
    if json:
        output.document({"id": meta.id, "path": str(target), "size": meta.size, "sha256": meta.sha256})
        return
    output.print(clean(target))


def _document(client: Client, file_id: str) -> dict[str, Any]:
    from jobyard.client.requests import segment

    return client.request("GET", f"/v1/files/{segment(file_id, what='a file id')}")


@app.command("list")
def list_files(limit: Limit = 20, every: Every = False, cursor: Cursor = None, json: Json = False) -> None:
    """The newest files first."""
    page = listing.fetch("/v1/files", {}, limit=limit, every=every, cursor=cursor)
    columns = ("id", "name", "size", "state", "content_type", "created_at")
    listing.show(page, Output(json=json), columns, lambda row: tuple(row.get(column) for column in columns))


@app.command()
def show(file: FileId, json: Json = False) -> None:
    """What is known of a file."""
    output = Output(json=json)
    with session.connect() as client:
        document = _document(client, file)
    if json:
        output.document(document)
        return
    output.facts((name, value) for name, value in document.items() if name != "links")


@app.command()
def rm(file: FileId, json: Json = False) -> None:
    """Delete a file."""
    output = Output(json=json)
    with session.connect() as client:
        client.files.delete(file)
    if json:
        output.document({"id": file, "deleted": True})
        return
    output.say(f"{one_line(file)} deleted")
