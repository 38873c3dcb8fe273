"""What people see of files: the list, one file, its content."""

from __future__ import annotations

import base64
import binascii
from concurrent.futures import Executor

from jobyard_common.contracts.ids import is_id
from jobyard_common.http.internal import caller
from jobyard_common.http.problems import FieldError, Problem
from starlette.requests import Request
from starlette.responses import Response

from jobyard_files.domain.file import LISTED, FileState
from jobyard_files.handlers.find_file import FindFile
from jobyard_files.handlers.list_files import ListFiles
from jobyard_files.handlers.read_content import Asked, ReadContent
from jobyard_files.inbound.answers import ContentStream, json, public_base, shown
from jobyard_files.store.files import Filters

MAX_LIMIT = 200
_PARAMETERS = frozenset({"limit", "cursor", "state", "job_id", "name"})


class ReadEndpoints:
    def __init__(
        self, *, find: FindFile, listing: ListFiles, content: ReadContent, threads: Executor, public_url: str
    ) -> None:
        self._find = find
        self._listing = listing
        self._content = content
        self._threads = threads
        self._public_url = public_url

    async def list(self, request: Request) -> Response:
        filters, limit = _query(request)
        rows, more = await self._listing(tenant=caller(request).tenant, filters=filters, limit=limit)
        base = public_base(request, self._public_url)
        data = [shown(file, base=base) for file in rows]
        return json({"data": data, "next_cursor": _cursor(rows[-1].id) if more else None, "has_more": more})

    async def get(self, request: Request) -> Response:
        file = await self._find.visible(tenant=caller(request).tenant, file_id=request.path_params["file_id"])
        return json(shown(file, base=public_base(request, self._public_url)))

    async def get_inside(self, request: Request) -> Response:
        file = await self._find.inside(tenant=caller(request).tenant, file_id=request.path_params["file_id"])
        return json(shown(file, base=public_base(request, self._public_url)))

    async def content(self, request: Request) -> Response:
        """Bytes for people: outputs of attempts that do not count are not found."""
        await self._find.visible(tenant=caller(request).tenant, file_id=request.path_params["file_id"])
        return await self.content_inside(request)

    async def content_inside(self, request: Request) -> Response:
        file = await self._find.inside(tenant=caller(request).tenant, file_id=request.path_params["file_id"])
        asked = Asked(
            range=request.headers.get("range"),
            if_range=request.headers.get("if-range"),
            if_none_match=request.headers.get("if-none-match"),
            inline=request.query_params.get("disposition") == "inline",
        )
        content = await self._content(file, asked)
        return ContentStream(content, self._threads, head=request.method == "HEAD")


def _query(request: Request) -> tuple[Filters, int]:
    """The parameters of a list.

    Raises:
        Problem: with every fault at once.
    """
    given, faults = request.query_params, []
    faults += [FieldError(name[:64], "is not a parameter of this list") for name in given if name not in _PARAMETERS]
    faults += [FieldError(name, "is given twice") for name in _PARAMETERS - {"state"} if len(given.getlist(name)) > 1]
    text = given.get("limit", "50")
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0
    if not 1 <= limit <= MAX_LIMIT:
        faults.append(FieldError("limit", f"must be a whole number from 1 to {MAX_LIMIT}"))
    states = given.getlist("state")
    if any(state not in LISTED for state in states):
        faults.append(FieldError("state", f"must be one of {', '.join(sorted(LISTED))}"))
    before = _before(given["cursor"]) if "cursor" in given else None
    if "cursor" in given and before is None:
        faults.append(FieldError("cursor", "is not a cursor of this list"))
    job_id = given.get("job_id")
    if job_id is not None and not is_id("job", job_id):
        faults.append(FieldError("job_id", "is not the id of a job"))
    name = given.get("name")
    if name is not None and ("\0" in name or not 1 <= len(name) <= 255):
        faults.append(FieldError("name", "must have 1 to 255 characters and no NUL"))
    if faults:
        raise Problem("validation_failed", errors=faults)
    return Filters(before=before, states=tuple(FileState(state) for state in states), job_id=job_id, name=name), limit


def _cursor(file_id: str) -> str:
    return base64.urlsafe_b64encode(file_id.encode()).decode().rstrip("=")


def _before(cursor: str) -> str | None:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return text if is_id("file", text) else None
