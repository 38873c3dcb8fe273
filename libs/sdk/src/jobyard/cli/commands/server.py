"""`jobyard status`, `login` and `open`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from jobyard.cli import session
from jobyard.cli.codes import UsageError
from jobyard.cli.options import Json
from jobyard.cli.output import Output, one_line


def status(json: Json = False) -> None:
    """Whether the server and its services are well."""
    output = Output(json=json)
    with session.connect() as client:
        document = client.system()
        server = client.server
    if json:
        output.document(document)
        return
    output.print(f"{one_line(document.get('status'))}  {server.url}  (from {one_line(server.source)})")
    rows = [row for row in document.get("services") or [] if isinstance(row, dict)]
    if rows:
        columns = [
            name for name in ("name", "status", "instance", "version", "detail") if any(row.get(name) for row in rows)
        ]
        output.table(columns, [[row.get(column) for column in columns] for row in rows])


def login(
    url: Annotated[str | None, typer.Argument(metavar="URL", help="The server's address.")] = None,
    json: Json = False,
) -> None:
    """Store a server and an API key for this user. The key is asked for, or read from stdin."""
    from jobyard.client import Client
    from jobyard.client.config import Server, checked, config_path, write

    output = Output(json=json)
    address = url or os.environ.get("JOBYARD_URL")
    if not address:
        raise UsageError("name the server: jobyard login https://jobyard.example.org")
    checked(Server(address, None, "URL"))
    key = _key()
    if not key:
        raise UsageError("no API key was given")
    server = checked(Server(address, key, "URL"))
    with Client(server.url, api_key=key) as client:
        client.request("GET", "/v1/tools")
    path = config_path(os.environ)
    write(path, url=server.url, api_key=key)
    if json:
        output.document({"url": server.url, "config": str(path)})
        return
    output.say(f"{server.url} is stored in {path}")


def _key() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("API key", hide_input=True, err=True)).strip()
    return sys.stdin.readline(8192).strip()


def open_console(
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Show this job.")] = None,
    json: Json = False,
) -> None:
    """Open the console in a browser, and print its address."""
    from jobyard.client.config import find
    from jobyard.client.requests import segment

    output = Output(json=json)
    server = find(env=os.environ, cwd=Path.cwd())
    address = (server.console_url or server.url).rstrip("/")
    if job is not None:
        address = f"{address}/jobs/{segment(job, what='a job id')}"
    opened = _browse(address)
    if json:
        output.document({"url": address, "opened": opened})
        return
    output.print(one_line(address, width=2000))
    if not opened:
        output.say("no browser could be started here; open the address yourself")


def _browse(address: str) -> bool:
    """Only where a browser can be: a text browser would take over the terminal."""
    import webbrowser

    graphical = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(graphical and sys.stdout.isatty() and webbrowser.open(address))
