"""What can be done with jobs, as flows over documents."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from jobyard.client.answers import Document
from jobyard.client.effects import Flow, Request, emit, sleep
from jobyard.client.models import TERMINAL
from jobyard.client.requests import mint_key, post, query, segment
from jobyard.client.retrying import PASSING, Policy, call_json
from jobyard.errors import InvalidArgument, Refused, UnexpectedAnswer, Unreachable, WaitTimeout

HELD_S = 2.0
"""How long the server holds a read with `min_version`."""


def submit(body: Mapping[str, Any], policy: Policy, *, idempotency_key: str | None = None) -> Flow[Document]:
    """Without a key of the caller's one is minted, so that sending twice can never make two jobs."""
    request = post("/v1/jobs", body, idempotency_key=mint_key() if idempotency_key is None else idempotency_key)
    return (yield from _job(request, policy))


def submit_body(
    tool: str, *, parameters: Mapping[str, Any] | None, files: Mapping[str, str] | None, options: Mapping[str, Any]
) -> Document:
    """The submit document; an option that is None is left to the server's default."""
    body: Document = {"tool": tool}
    if parameters is not None:
        body["parameters"] = parameters
    if files:
        body["files"] = files
    for name in ("tool", "parameters", "files"):
        if name in options:
            raise InvalidArgument(f"{name} is given twice")
    return body | {name: value for name, value in options.items() if value is not None}


def get(job_id: str, policy: Policy, *, min_version: int | None = None) -> Flow[Document]:
    return (yield from _job(Request("GET", _path(job_id), query({"min_version": min_version})), policy))


def read(job_id: str, what: str, policy: Policy, *, params: Mapping[str, object] | None = None) -> Flow[Document]:
    """One of a job's sub-resources: result, logs, events, attempts, explain, trace."""
    request = Request("GET", f"{_path(job_id)}/{what}", query(params or {}), {"Accept": "application/json"})
    return (yield from call_json(request, policy))


def act(job_id: str, verb: str, policy: Policy, *, body: Mapping[str, Any] | None = None) -> Flow[Document]:
    """Cancel, retry, replay or reschedule; all carry a minted idempotency key."""
    return (yield from _job(post(f"{_path(job_id)}/{verb}", body, idempotency_key=mint_key()), policy))


def pages(path: str, policy: Policy, *, params: Mapping[str, object], max_items: int | None = None) -> Flow[None]:
    """Emits every row of a list, page by page; rows that arrive meanwhile do not disturb the cursor."""
    given, cursor, left = query(params), "", max_items
    while left is None or left > 0:
        asked = given + ((("cursor", cursor),) if cursor else ())
        page = yield from call_json(Request("GET", path, asked), policy)
        rows = page.get("data")
        if not isinstance(rows, list):
            raise UnexpectedAnswer(f"GET {path}: a list without `data`")
        for row in rows if left is None else rows[:left]:
            yield from emit(row)
        left = None if left is None else left - len(rows)
        following = page.get("next_cursor")
        if not page.get("has_more") or not following:
            return
        if following == cursor:
            raise UnexpectedAnswer(f"GET {path}: the next page is this page again")
        cursor = str(following)


def wait(
    job: Document, policy: Policy, *, timeout_s: float | None, now: Callable[[], float] = time.monotonic
) -> Flow[Document]:
    """The finished job. Each read is held by the server until the job's next version, or 2 s.

    Raises WaitTimeout; Unreachable after the policy's patience without an answer.
    """
    job_id, began, good_at, pause = str(job["id"]), now(), now(), 0.05
    while job.get("state") not in TERMINAL:
        left = None if timeout_s is None else timeout_s - (now() - began)
        if left is not None and left <= 0:
            raise WaitTimeout(f"{job_id} is still {job.get('state')} after {timeout_s:g} s", job_id=job_id)
        hold = left is None or left > HELD_S
        asked_at, before = now(), job.get("version")
        try:
            job = yield from get(job_id, policy, min_version=_version(job) + 1 if hold else None)
            good_at = now()
        except (Unreachable, Refused) as error:
            passing = error.status in PASSING if isinstance(error, Refused) else not isinstance(error, UnexpectedAnswer)
            if not passing or now() - good_at > policy.patience_s:
                raise
        if job.get("version") != before or now() - asked_at > HELD_S / 2:
            pause = 0.05
            continue
        yield from sleep(min(pause, left) if left is not None else pause)
        pause = min(pause * 1.5, 1.0 if hold else 0.2)
    return job


def _job(request: Request, policy: Policy) -> Flow[Document]:
    job = yield from call_json(request, policy)
    if not isinstance(job.get("id"), str) or not isinstance(job.get("state"), str):
        raise UnexpectedAnswer(f"{request.method} {request.path}: the answer is no job")
    return job


def _path(job_id: str) -> str:
    return f"/v1/jobs/{segment(job_id, what='a job id')}"


def _version(job: Document) -> int:
    version = job.get("version")
    return version if isinstance(version, int) else 0
