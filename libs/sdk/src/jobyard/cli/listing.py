"""Lists: a page, or every page in one document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jobyard.cli import session
from jobyard.cli.output import Output

if TYPE_CHECKING:
    from jobyard.client import Client


def fetch(
    path: str, filters: Mapping[str, object], *, limit: int | None, every: bool, cursor: str | None
) -> dict[str, Any]:
    """The server's page, or all rows under `data`."""
    with session.connect() as client:
        return fetch_with(client, path, filters, limit=limit, every=every, cursor=cursor)


def fetch_with(
    client: Client, path: str, filters: Mapping[str, object], *, limit: int | None, every: bool, cursor: str | None
) -> dict[str, Any]:
    params = {name: value for name, value in filters.items() if value}
    if not every:
        return client.request("GET", path, params=params | {"limit": limit, "cursor": cursor})
    flow = client.operations.rows(path, params | ({"limit": 200} if limit is not None else {}))
    return {"data": list(client.iterate(flow)), "next_cursor": None, "has_more": False}


def show(
    page: dict[str, Any],
    output: Output,
    columns: tuple[str, ...],
    row_of: Callable[[dict[str, Any]], tuple[object, ...]],
) -> None:
    if output.json:
        output.document(page)
        return
    rows = [row for row in page.get("data") or [] if isinstance(row, dict)]
    if not rows:
        output.say("nothing found")
        return
    output.table(columns, [row_of(row) for row in rows])
    if page.get("has_more"):
        output.say(f"there is more: --cursor {page.get('next_cursor')}, or --all")
