"""Decide what a download answers: status, headers, and which bytes of which open file."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from jobyard_files.domain import content_types
from jobyard_files.domain.content_types import essence
from jobyard_files.domain.file import File, FileState
from jobyard_files.domain.names import disposition
from jobyard_files.domain.ranges import Unsatisfiable, asked_range, tag_matches
from jobyard_files.domain.refusals import Refusal, Refused
from jobyard_files.outbound.disk import BlobMissing, Disk

SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The conditions and the range of one request, as their headers came."""

    range: str | None = None
    if_range: str | None = None
    if_none_match: str | None = None
    inline: bool = False


@dataclass
class Content:
    """What to send: `length` bytes from `first` of the open `descriptor`, which the receiver must close."""

    status: int
    headers: Mapping[str, str]
    descriptor: int
    first: int
    length: int

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class ReadContent:
    def __init__(self, disk: Disk, threads: Executor) -> None:
        self._disk = disk
        self._threads = threads

    async def __call__(self, file: File, asked: Asked) -> Content:
        """Raises Refused (not complete, range beyond the end) or BlobMissing."""
        if file.state is FileState.UPLOADING:
            raise Refused(Refusal.INCOMPLETE, f"The upload is not complete; {file.received} bytes are here.")
        descriptor = await asyncio.get_running_loop().run_in_executor(self._threads, self._open, file)
        try:
            return plan(file, asked, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def _open(self, file: File) -> int:
        if file.sha256 is not None:
            return self._disk.open_blob(file.sha256)
        try:
            return self._disk.open_unsealed(file.id)
        except BlobMissing:
            detail = "The file is being put in its place."
            raise Refused(Refusal.UNAVAILABLE, detail, headers={"Retry-After": "1"}) from None


def plan(file: File, asked: Asked, descriptor: int) -> Content:
    """The answer to `asked` for a complete file."""
    size = file.received
    headers = _headers(file, inline=asked.inline)
    etag = headers.get("ETag")
    if etag and tag_matches(asked.if_none_match, etag, weak=True):
        return Content(304, headers, descriptor, 0, 0)
    honoured = asked.if_range is None or (etag is not None and tag_matches(asked.if_range, etag, weak=False))
    part = asked_range(asked.range, size=size) if honoured else None
    if isinstance(part, Unsatisfiable):
        unsatisfiable = {"Content-Range": f"bytes */{size}"}
        raise Refused(Refusal.RANGE, f"The file has {size} bytes.", headers=unsatisfiable)
    if part is None:
        return Content(200, headers | {"Content-Length": str(size)}, descriptor, 0, size)
    told = {"Content-Range": f"bytes {part.first}-{part.last}/{size}", "Content-Length": str(part.length)}
    return Content(206, headers | told, descriptor, part.first, part.length)


def _headers(file: File, *, inline: bool) -> dict[str, str]:
    kind = file.content_type or content_types.UNKNOWN
    shown = inline and essence(kind) in content_types.RASTER | content_types.DOCUMENTS
    found = {
        "Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") and ";" not in kind else kind,
        "Content-Disposition": disposition(file.name, inline=shown),
        "Content-Security-Policy": SANDBOX,
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
    }
    if file.sha256 is not None:
        found["ETag"] = f'"{file.sha256}"'
        found["Repr-Digest"] = f"sha-256=:{base64.b64encode(bytes.fromhex(file.sha256)).decode()}:"
    return found
