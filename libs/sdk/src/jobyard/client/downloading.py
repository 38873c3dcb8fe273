"""Downloads that go on where they stopped, checked by SHA-256, and appear under their name only when whole.

The bytes collect in `.<name>.<file id>.part` beside the target. Content never changes under a file id, so a part that
an earlier process left behind is simply continued with a range.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from jobyard.client import answers
from jobyard.client.answers import Document
from jobyard.client.effects import Answer, Flow, Request, Stream, close, open_stream, read, read_all, sleep, work
from jobyard.client.requests import segment
from jobyard.client.retrying import PASSING, Policy, call_json
from jobyard.client.uploading import Progress
from jobyard.errors import ContentMismatch, InvalidArgument, Refused, UnexpectedAnswer, Unreachable


def download(
    file_id: str,
    path: Path,
    policy: Policy,
    *,
    progress: Progress | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Flow[Document]:
    """Writes `path`, replacing what was there; returns the metadata. Raises ContentMismatch, OSError, Refused."""
    if path.exists() and not path.is_file():
        raise InvalidArgument(f"{path} is {'a directory' if path.is_dir() else 'no regular file'}")
    meta = yield from call_json(Request("GET", _path(file_id)), policy)
    part = path.with_name(f".{path.name[:120]}.{segment(file_id, what='a file id')[:64]}.part")
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "r+b") as file:
        file.seek(0, os.SEEK_END)
        yield from _fetch(file_id, file, meta, policy, progress=progress, now=now)
    want = meta.get("sha256")
    have = yield from work(lambda: _sha256(part))
    if isinstance(want, str) and have != want.lower():
        part.unlink(missing_ok=True)
        raise ContentMismatch(f"{file_id}: the bytes have SHA-256 {have}, announced was {want}; try again")
    part.replace(path)
    return meta


def content(file_id: str, policy: Policy, *, write: Callable[[bytes], object]) -> Flow[None]:
    """The bytes in order to `write`, for a pipe. A cut is an error there, as nothing can be taken back."""
    request = Request("GET", f"{_path(file_id)}/content")
    stream = yield from open_stream(request)
    if stream.status != 200:
        yield from _refuse(stream, request)
    while data := (yield from read(stream)):
        piece = data
        yield from work(lambda piece=piece: write(piece))  # type: ignore[misc]
    yield from close(stream)


def _fetch(
    file_id: str,
    file: BinaryIO,
    meta: Document,
    policy: Policy,
    *,
    progress: Progress | None,
    now: Callable[[], float],
) -> Flow[None]:
    size = meta["size"] if isinstance(meta.get("size"), int) else None
    attempt, good_at = 0, now()
    report = progress or (lambda done, total: None)
    if size is not None and file.tell() > size:
        _restart(file)
    while size is None or file.tell() < size or size == 0:
        before = file.tell()
        failure: Refused | Unreachable
        try:
            ended = yield from _read_from(file_id, file, size, report)
            if ended and (size is None or file.tell() >= size):
                return
            failure = Unreachable(f"the download of {file_id} broke off at {file.tell()} bytes")
        except UnexpectedAnswer:
            raise
        except Unreachable as error:
            failure = error
        except Refused as error:
            if error.status not in PASSING:
                raise
            failure = error
        if file.tell() > before:
            attempt, good_at = 0, now()
        elif now() - good_at > policy.patience_s:
            raise failure
        attempt += 1
        yield from sleep(policy.backoff.delay(attempt, advice_s=getattr(failure, "retry_after_s", None)))


def _read_from(file_id: str, file: BinaryIO, size: int | None, report: Progress) -> Flow[bool]:
    """One connection's worth; true when the server ended it in order."""
    offset = file.tell()
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    request = Request("GET", f"{_path(file_id)}/content", headers=headers | {"Accept-Encoding": "identity"})
    stream = yield from open_stream(request)
    if stream.status in (200, 416):
        _restart(file)
    if stream.status == 416:
        yield from close(stream)
        return False
    if stream.status not in (200, 206):
        yield from _refuse(stream, request)
    if stream.status == 206 and not stream.headers.get("content-range", "").startswith(f"bytes {offset}-"):
        raise UnexpectedAnswer(f"{request.path}: another range came than was asked for")
    report(file.tell(), size if size is not None else 0)
    while data := (yield from read(stream)):
        piece = data
        yield from work(lambda piece=piece: file.write(piece))  # type: ignore[misc]
        report(file.tell(), size if size is not None else 0)
    yield from close(stream)
    return True


def _refuse(stream: Stream, request: Request) -> Flow[None]:
    body = yield from read_all(stream)
    yield from close(stream)
    answer = Answer(stream.status, stream.headers, body)
    answers.check_redirect(answer, request)
    raise answers.refusal(answer, request)


def _restart(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _path(file_id: str) -> str:
    return f"/v1/files/{segment(file_id, what='a file id')}"


def safe_name(name: str, *, fallback: str) -> str:
    """A file name from a server that stays inside its folder and says nothing to a terminal."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(character if character.isprintable() else "_" for character in last).strip()
    kept = os.fsencode(kept)[:200].decode("utf-8", "ignore")
    return kept if kept not in ("", ".", "..") else fallback
