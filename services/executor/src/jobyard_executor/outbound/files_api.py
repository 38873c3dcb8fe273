"""Files of jobs through the files service, streamed both ways."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import httpx
import msgspec
from jobyard_common.contracts.jobs import Actor, ActorKind
from jobyard_common.http.internal import InternalClient
from jobyard_common.telemetry.context import parse
from jobyard_common.telemetry.tracing import Kind, Tracer

from jobyard_executor.domain.assignment import OutputFile

CHUNK = 256 * 1024
TIMEOUT = httpx.Timeout(60.0, connect=2.0)


class FileUnavailable(Exception):
    """The files service refused a file, or is away; the text says which and why."""


class FilesApi:
    """`FilesPort` over the internal HTTP of the files service."""

    def __init__(self, client: InternalClient, *, tracer: Tracer, instance: str) -> None:
        self._client = client
        self._tracer = tracer
        self._actor = Actor(ActorKind.WORKER, instance)

    async def fetch(self, file_id: str, path: str, *, tenant: str, traceparent: str) -> None:
        """Write the content of a file to `path`. Raises FileUnavailable or OSError."""
        url = f"/internal/v1/files/{file_id}/content"
        with self._tracer.span("GET /internal/v1/files/{file_id}/content", kind=Kind.CLIENT,
                               parent=parse(traceparent), attributes=_attributes("GET", url)) as span:  # fmt: skip
            headers = self._client.headers(tenant=tenant, actor=self._actor, trace=span.context)
            try:
                async with self._client.http.stream("GET", url, headers=headers, timeout=TIMEOUT) as answer:
                    span.set("http.response.status_code", answer.status_code)
                    if answer.status_code != 200:
                        raise FileUnavailable(f"{file_id}: the files service answered {answer.status_code}")
                    with await asyncio.to_thread(Path(path).open, "wb") as target:
                        async for chunk in answer.aiter_bytes(CHUNK):
                            await asyncio.to_thread(target.write, chunk)
            except httpx.TransportError as error:
                raise FileUnavailable(f"{file_id}: {type(error).__name__}: {error}") from error

    async def store(
        self, path: str, *, name: str, tenant: str, job_id: str, attempt: int, fence: int, traceparent: str
    ) -> OutputFile:
        """Store an output; it stays held until the job's end names it. Raises FileUnavailable or OSError."""
        url = f"/internal/v1/outputs/{job_id}/{attempt}/{fence}"
        with self._tracer.span("PUT /internal/v1/outputs/{job_id}/{attempt}/{fence}", kind=Kind.CLIENT,
                               parent=parse(traceparent), attributes=_attributes("PUT", url)) as span:  # fmt: skip
            headers = self._client.headers(tenant=tenant, actor=self._actor, trace=span.context)
            headers["Content-Type"] = mimetypes.guess_type(name)[0] or "application/octet-stream"
            try:
                with await asyncio.to_thread(Path(path).open, "rb") as source:
                    answer = await self._client.http.put(
                        url, params={"name": name}, content=_chunks(source), headers=headers, timeout=TIMEOUT
                    )
            except httpx.TransportError as error:
                raise FileUnavailable(f"{name}: {type(error).__name__}: {error}") from error
            span.set("http.response.status_code", answer.status_code)
        if answer.status_code != 201:
            raise FileUnavailable(f"{name}: the files service answered {answer.status_code}")
        return msgspec.json.decode(answer.content, type=OutputFile)


async def _chunks(source: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(source.read, CHUNK):
        yield chunk


def _attributes(method: str, path: str) -> dict[str, str | int | float | bool]:
    return {"http.request.method": method, "url.path": path}
