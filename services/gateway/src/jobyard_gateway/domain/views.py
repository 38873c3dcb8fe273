"""Jobs as the API shows them: the one in a 202, and links put into those of others."""

from __future__ import annotations

import msgspec
from jobyard_common.contracts.ids import is_id
from jobyard_common.contracts.jobs import EMPTY_OBJECT

_encode = msgspec.json.Encoder().encode


class Accepted(msgspec.Struct):
    """A job that was promised and that nobody has looked at yet. The order of members is that of API.md."""

    id: str
    tool: str
    tool_version: str
    state: str
    reason: None
    dead: bool
    version: int
    queue: str
    priority: int
    parameters: msgspec.Raw
    files: dict[str, str]
    attempt: int
    max_attempts: int
    progress: None
    error: None
    tags: tuple[str, ...]
    metadata: msgspec.Raw
    created_at: str
    run_at: str | None
    queued_at: None
    started_at: None
    finished_at: None
    wait_ms: None
    run_ms: None
    worker: None
    correlation_id: str
    trace_id: str
    parent_id: str | None
    origin_id: str | None
    workflow_id: None
    schedule_id: None
    links: msgspec.Raw


def links(job_id: str) -> bytes:
    """The `links` object. Ids are plain characters, so a template is JSON."""
    return (
        f'{{"self":"/v1/jobs/{job_id}","result":"/v1/jobs/{job_id}/result","logs":"/v1/jobs/{job_id}/logs",'
        f'"events":"/v1/jobs/{job_id}/events","trace":"/v1/jobs/{job_id}/trace"}}'
    ).encode()


class _Promised(msgspec.Struct):
    state: str
    created_at: str


def explanation_of_promise(job: bytes) -> bytes:
    """Why a job waits that the executor has not read."""
    found = msgspec.json.decode(job, type=_Promised)
    detail = "It is accepted and kept; the executor has not read it yet."
    waits = [{"kind": "ingest", "detail": detail, "until": None}]
    return _encode({"state": found.state, "reason": None, "since": found.created_at, "waiting_for": waits})


def accepted(
    *,
    job_id: str,
    tool: str,
    tool_version: str,
    queue: str,
    priority: int,
    max_attempts: int,
    created_at: str,
    correlation_id: str,
    trace_id: str,
    parameters: msgspec.Raw = EMPTY_OBJECT,
    metadata: msgspec.Raw = EMPTY_OBJECT,
    files: dict[str, str] | None = None,
    tags: tuple[str, ...] = (),
    run_at: str | None = None,
    origin_id: str | None = None,
) -> bytes:
    """The body of a 202: state `accepted`, version 0."""
    return _encode(
        Accepted(
            id=job_id,
            tool=tool,
            tool_version=tool_version,
            state="accepted",
            reason=None,
            dead=False,
            version=0,
            queue=queue,
            priority=priority,
            parameters=parameters,
            files=files or {},
            attempt=0,
            max_attempts=max_attempts,
            progress=None,
            error=None,
            tags=tags,
            metadata=metadata,
            created_at=created_at,
            run_at=run_at,
            queued_at=None,
            started_at=None,
            finished_at=None,
            wait_ms=None,
            run_ms=None,
            worker=None,
            correlation_id=correlation_id,
            trace_id=trace_id,
            parent_id=None,
            origin_id=origin_id,
            workflow_id=None,
            schedule_id=None,
            links=msgspec.Raw(links(job_id)),
        )
    )


class _Head(msgspec.Struct):
    id: str


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    next_cursor: str | None = None
    has_more: bool = False
    count: int | msgspec.UnsetType = msgspec.UNSET
    count_capped: bool | msgspec.UnsetType = msgspec.UNSET


class _File(msgspec.Struct):
    file_id: str


class _Result(msgspec.Struct):
    files: list[msgspec.Raw] = []


_head = msgspec.json.Decoder(_Head)
_page = msgspec.json.Decoder(_Page)
_result = msgspec.json.Decoder(_Result)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_file = msgspec.json.Decoder(_File)


def with_links(job: bytes) -> bytes:
    """`job` as another service told it, byte for byte, with `links` as its last member."""
    job_id = _head.decode(job).id
    if not is_id("job", job_id):
        raise ValueError("a job without a well-formed id")
    return job.rstrip()[:-1] + b',"links":' + links(job_id) + b"}"


def page_with_links(page: bytes) -> bytes:
    found = _page.decode(page)
    found.data = [msgspec.Raw(with_links(bytes(job))) for job in found.data]
    return _encode(found)


def result_with_urls(result: bytes, *, public_url: str) -> bytes:
    """The result with the address of each of its files; everything else byte for byte."""
    if not _result.decode(result).files:
        return result
    members = _members.decode(result)
    files = []
    for row in _result.decode(result).files:
        url = f"{public_url}/v1/files/{_file.decode(row).file_id}/content".encode()
        text = bytes(row).rstrip()
        files.append(_without_url(text)[:-1] + b',"url":"' + url + b'"}')
    members["files"] = msgspec.Raw(b"[" + b",".join(files) + b"]")
    return _encode(members)


def _without_url(row: bytes) -> bytes:
    members = _members.decode(row)
    if members.pop("url", None) is None:
        return row
    return _encode(members)
