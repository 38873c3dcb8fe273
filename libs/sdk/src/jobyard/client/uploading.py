"""A small tus 1.0 client.

Create (or find the remembered upload again), then PATCH piece by piece. After any cut it asks for the offset that the
server kept and goes on there, with growing pauses, until the policy's patience passes without a byte of headway. The
SHA-256 is computed along the way and compared with the server's as soon as that is known.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from jobyard.client import answers
from jobyard.client.answers import Document
from jobyard.client.effects import Flow, Request, send, sleep, work
from jobyard.client.requests import mint_key, segment
from jobyard.client.retrying import PASSING, Policy, call, call_json
from jobyard.client.upload_state import Memory, sweep
from jobyard.errors import ContentMismatch, InvalidArgument, Refused, UnexpectedAnswer, Unreachable, UploadChanged

Progress = Callable[[int, int], object]
TUS = {"Tus-Resumable": "1.0.0"}
_MIB = 2**20
_SMALLEST, _LARGEST = _MIB // 4, 16 * _MIB


@dataclass
class Source:
    """The open file, its size, and a hash that follows the highest offset read."""

    file: BinaryIO
    path: Path
    size: int
    mtime_ns: int
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    hashed: int = 0

    def piece(self, offset: int, length: int) -> bytes:
        """Bytes from `offset`. Raises UploadChanged where the file is not what it was."""
        while self.hashed < offset:
            self._hash(self._read(self.hashed, min(8 * _MIB, offset - self.hashed)), self.hashed)
        data = self._read(offset, min(length, self.size - offset))
        self._hash(data, offset)
        return data

    def unchanged(self) -> None:
        now = os.fstat(self.file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            raise UploadChanged(f"{self.path} changed while it was uploaded; upload it again")

    def _read(self, offset: int, length: int) -> bytes:
        self.file.seek(offset)
        data = self.file.read(length)
        if len(data) != length:
            raise UploadChanged(f"{self.path} became shorter while it was uploaded; upload it again")
        return data

    def _hash(self, data: bytes, offset: int) -> None:
        if offset + len(data) > self.hashed:
            self.digest.update(data[self.hashed - offset :])
            self.hashed = offset + len(data)


def open_source(path: Path) -> Source:
    """Raises InvalidArgument for what is no regular file, OSError for what cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError:
        raise InvalidArgument(f"{str(path)!r} is no path") from None
    file = os.fdopen(descriptor, "rb", buffering=0) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    if file is None:
        kind = "a directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "not a regular file"
        os.close(descriptor)
        raise InvalidArgument(f"{path} is {kind}")
    status = os.fstat(file.fileno())
    return Source(file, path, status.st_size, status.st_mtime_ns)


def upload(
    path: Path,
    policy: Policy,
    *,
    server: str,
    state: Path | None,
    name: str | None = None,
    content_type: str | None = None,
    progress: Progress | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Flow[Document]:
    """The file's metadata once every byte is there. `state` is the folder of remembered uploads, None = no memory."""
    source = yield from work(lambda: open_source(path))
    with source.file:
        if state is None:
            return (yield from _upload(source, None, policy, _meta(path, name, content_type), progress, now))
        sweep(state)
        memory = Memory(state, server=server, path=path.resolve(), stat=os.fstat(source.file.fileno()))
        with memory:
            return (yield from _upload(source, memory, policy, _meta(path, name, content_type), progress, now))


def _upload(
    source: Source,
    memory: Memory | None,
    policy: Policy,
    meta: str,
    progress: Progress | None,
    now: Callable[[], float],
) -> Flow[Document]:
    file_id, offset = "", None
    if memory is not None and memory.file_id is not None:
        file_id = memory.file_id
        offset = yield from _resume_at(file_id, source.size, policy)
    if offset is None:
        file_id, offset = (yield from _create(source.size, meta, policy)), 0
        if memory is not None:
            memory.keep(file_id)
    yield from _send(source, file_id, offset, policy, progress, now)
    yield from work(source.unchanged)
    if memory is not None:
        memory.keep(None)
    yield from work(lambda: source.piece(source.size, 0))
    return (yield from _verified(file_id, source.digest.hexdigest(), policy))


def _create(size: int, meta: str, policy: Policy) -> Flow[str]:
    """A lost answer leaves an empty upload behind, which expires: safe to repeat."""
    headers = TUS | {"Upload-Length": str(size), "Upload-Metadata": meta, "Idempotency-Key": mint_key()}
    request = Request("POST", "/v1/files", headers=headers, content=b"")
    answer = yield from call(request, policy)
    file_id = answer.headers.get("location", "").rstrip("/").rpartition("/")[2]
    if answer.status != 201 or not file_id:
        raise UnexpectedAnswer(f"POST /v1/files: {answer.status} without a Location; is the address right?")
    return file_id


def _resume_at(file_id: str, size: int, policy: Policy) -> Flow[int | None]:
    """The offset of a remembered upload; None where it is gone or is not this file's."""
    try:
        answer = yield from call(_head(file_id), policy)
    except Refused as error:
        if error.status in (400, 403, 404, 410):
            return None
        raise
    same = answer.headers.get("upload-length") == str(size)
    return _offset(answer.headers.get("upload-offset"), size) if same else None


def _send(
    source: Source,
    file_id: str,
    offset: int,
    policy: Policy,
    progress: Progress | None,
    now: Callable[[], float],
) -> Flow[None]:
    length, attempt, good_at, best = _MIB, 0, now(), offset
    report = progress or (lambda done, total: None)
    report(offset, source.size)
    while offset < source.size:
        data = yield from work(lambda at=offset, many=length: source.piece(at, many))  # type: ignore[misc]
        began = now()
        failure: Refused | Unreachable | None = None
        try:
            answer = yield from send(_patch(file_id, offset, data))
            if answer.status == 204 and (kept := _offset(answer.headers.get("upload-offset"), source.size)) is not None:
                length = _next_length(length, seconds=now() - began)
                offset = kept
            else:
                failure = answers.refusal(answer, _patch(file_id, offset, b""))
        except Unreachable as error:
            failure = error
        if failure is not None:
            if isinstance(failure, Refused) and failure.status not in PASSING | {409, 423, 500, 408}:
                raise failure
            if now() - good_at > policy.patience_s:
                raise failure
            attempt += 1
            yield from sleep(policy.backoff.delay(attempt, advice_s=getattr(failure, "retry_after_s", None)))
            length = max(_SMALLEST, length // 2)
            offset = yield from _kept(
                file_id, offset, source.size, policy, patient_until=good_at + policy.patience_s, now=now
            )
        if offset > best:
            attempt, good_at, best = 0, now(), offset
            report(offset, source.size)


def _kept(
    file_id: str, offset: int, size: int, policy: Policy, *, patient_until: float, now: Callable[[], float]
) -> Flow[int]:
    """How much the server kept; the old offset where it cannot be asked yet (the next PATCH then asks again)."""
    try:
        answer = yield from call(_head(file_id), policy)
    except (Unreachable, Refused) as error:
        passing = error.status in PASSING | {423, 500} if isinstance(error, Refused) else True
        if not passing or now() > patient_until:
            raise
        return offset
    kept = _offset(answer.headers.get("upload-offset"), size)
    return offset if kept is None else kept


def _verified(file_id: str, digest: str, policy: Policy) -> Flow[Document]:
    request = Request("GET", f"/v1/files/{segment(file_id, what='a file id')}")
    document = yield from call_json(request, policy)
    known = document.get("sha256")
    if isinstance(known, str) and known.lower() != digest:
        raise ContentMismatch(f"{file_id}: the server holds SHA-256 {known}, sent was {digest}; upload it again")
    return document


def _head(file_id: str) -> Request:
    return Request("HEAD", f"/v1/files/{segment(file_id, what='a file id')}", headers=TUS)


def _patch(file_id: str, offset: int, data: bytes) -> Request:
    headers = TUS | {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    return Request("PATCH", f"/v1/files/{segment(file_id, what='a file id')}", headers=headers, content=data)


def _next_length(length: int, *, seconds: float) -> int:
    """Pieces of about half a second: few requests on a fast line, little to lose on a slow one."""
    if seconds < 0.25:
        return min(_LARGEST, length * 2)
    return max(_SMALLEST, length // 2) if seconds > 2 else length


def _offset(text: str | None, size: int) -> int | None:
    good = text is not None and text.isascii() and text.isdigit() and len(text) < 20
    return int(text) if good and text is not None and int(text) <= size else None


def _meta(path: Path, name: str | None, content_type: str | None) -> str:
    """Upload-Metadata; bytes of a name that are not UTF-8 become replacement characters."""
    shown = os.fsencode(name if name is not None else path.name).decode("utf-8", "replace")
    kind = content_type or mimetypes.guess_type(shown)[0] or "application/octet-stream"
    pairs = (("filename", shown), ("filetype", kind))
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs)
