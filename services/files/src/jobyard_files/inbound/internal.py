"""What the other services call: outputs of attempts, and whether files exist."""

from __future__ import annotations

import msgspec
from jobyard_common.contracts import wire
from jobyard_common.contracts.ids import is_id
from jobyard_common.http.internal import caller
from jobyard_common.http.problems import FieldError, Problem
from starlette.requests import Request
from starlette.responses import Response

from jobyard_files.domain.refusals import not_found
from jobyard_files.handlers.find_file import FindFile
from jobyard_files.handlers.store_output import Output, StoreOutput
from jobyard_files.inbound.answers import cause_of, json
from jobyard_files.inbound.body import RequestBody
from jobyard_files.store.sweeps import Attempt

MAX_IDS = 1000
MAX_BODY_BYTES = 256 * 1024


class _Ids(msgspec.Struct):
    ids: list[str]


class InternalEndpoints:
    def __init__(self, *, store: StoreOutput, find: FindFile) -> None:
        self._store = store
        self._find = find

    async def put_output(self, request: Request) -> Response:
        """Store one output of an attempt; 201 with its id and hash."""
        length = request.headers.get("content-length", "")
        order = Output(
            attempt=_attempt(request),
            name=_name(request),
            content_type=request.headers.get("content-type"),
            length=int(length) if length.isascii() and length.isdigit() else None,
            cause=cause_of(request),
        )
        file = await self._store(order, RequestBody(request.receive))
        told = {
            "file_id": file.id,
            "name": file.name,
            "size": file.size,
            "sha256": file.sha256,
            "content_type": file.content_type,
        }
        return json(told, status=201)

    async def exists(self, request: Request) -> Response:
        """Which of some ids a job of this tenant may use, and what is known of their contents."""
        try:
            ids = wire.decode(_Ids, await _small_body(request)).ids
        except wire.WireError as error:
            raise Problem("malformed_json", str(error)) from None
        if len(ids) > MAX_IDS:
            raise Problem("validation_failed", errors=[FieldError("/ids", f"may have at most {MAX_IDS} ids")])
        known = await self._find.known(tenant=caller(request).tenant, ids=ids)
        contents = {one: digest for one, digest in known.items() if digest}
        return json({"known": list(known)} | ({"sha256": contents} if contents else {}))


def _attempt(request: Request) -> Attempt:
    job_id, fence = request.path_params["job_id"], request.path_params["fence"]
    attempt = request.path_params["attempt"]
    if not is_id("job", job_id) or attempt >= 2**31 or fence >= 2**63:
        raise not_found()
    return Attempt(caller(request).tenant, job_id, attempt, fence)


def _name(request: Request) -> str:
    name = request.query_params.get("name", "")
    if not 1 <= len(name) <= 4096:
        raise Problem("validation_failed", errors=[FieldError("name", "must have 1 to 4096 characters")])
    return name


async def _small_body(request: Request) -> bytes:
    gathered = bytearray()
    async for piece in request.stream():
        gathered += piece
        if len(gathered) > MAX_BODY_BYTES:
            raise Problem("payload_too_large")
    return bytes(gathered)
