"""`client.bulk`: one order for many jobs, blocking and awaited."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from jobyard.client import changing, jobs
from jobyard.client.answers import Document
from jobyard.client.changing import given
from jobyard.client.effects import Flow, Request, sleep
from jobyard.client.models import convert
from jobyard.client.part import AsyncPart, Part
from jobyard.client.requests import segment
from jobyard.client.retrying import Policy, call_json
from jobyard.errors import WaitTimeout

ALL = "/v1/bulk-operations"


class BulkOperation(msgspec.Struct, frozen=True):
    """`state`: running, done or aborted. `matched` is exact once it is done, before that it stops at 10,000."""

    id: str
    action: str
    state: str
    matched: int
    matched_capped: bool
    seen: int
    done: int
    refused: dict[str, int] = {}
    refused_sample: list[dict[str, str]] = []
    rate_per_s: float | None = None
    waits_for: str | None = None
    note: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    document: dict[str, Any] = {}


class BulkPreview(msgspec.Struct, frozen=True):
    """What an operation would touch: how many jobs, and the first of them."""

    matched: int
    matched_capped: bool
    sample: list[dict[str, Any]]


def bulk_of(document: Document) -> BulkOperation:
    return convert(document | {"document": document}, BulkOperation)


def _path(bulk_id: str) -> str:
    return f"{ALL}/{segment(bulk_id, what='an id of a bulk operation')}"


def _start(document: Mapping[str, Any], key: str | None, policy: Policy) -> Flow[BulkOperation]:
    return bulk_of((yield from changing.make(ALL, document, policy, idempotency_key=key)))


def _preview(document: Mapping[str, Any], policy: Policy) -> Flow[BulkPreview]:
    asked = {**document, "dry_run": True}
    return convert((yield from changing.act(ALL, policy, document=asked, safe=True)), BulkPreview)


def _get(bulk_id: str, policy: Policy) -> Flow[BulkOperation]:
    return bulk_of((yield from call_json(Request("GET", _path(bulk_id)), policy)))


def _abort(bulk_id: str, policy: Policy) -> Flow[BulkOperation]:
    return bulk_of((yield from changing.act(f"{_path(bulk_id)}/abort", policy, safe=True)))


def _wait(
    bulk_id: str, policy: Policy, *, timeout_s: float | None, now: Callable[[], float] = time.monotonic
) -> Flow[BulkOperation]:
    began, pause = now(), 0.1
    while (found := (yield from _get(bulk_id, policy))).state == "running":
        if timeout_s is not None and now() - began > timeout_s:
            raise WaitTimeout(f"{bulk_id} is still running after {timeout_s:g} s", job_id=bulk_id)
        yield from sleep(pause)
        pause = min(pause * 1.5, 2.0)
    return found


def _document(action: str, what: Mapping[str, Any]) -> dict[str, Any]:
    return given({"action": action, **what})


class Bulk(Part):
    def start(self, action: str, *, idempotency_key: str | None = None, **what: Any) -> BulkOperation:
        """`action`: cancel, retry, replay, reschedule or discard. `filter` (a mapping in the grammar of `jobs.list`)
        or `ids`; further `dead` (only open dead letters), `rate_per_s`, `run_at`, `note`."""
        return self._client.drive(_start(_document(action, what), idempotency_key, self._policy))

    def preview(self, action: str, **what: Any) -> BulkPreview:
        """As `start`, but nothing changes."""
        return self._client.drive(_preview(_document(action, what), self._policy))

    def get(self, bulk_id: str) -> BulkOperation:
        return self._client.drive(_get(bulk_id, self._policy))

    def list(self, *, state: str | None = None, max_items: int | None = None) -> Iterator[BulkOperation]:
        """Newest first."""
        flow = jobs.pages(ALL, self._policy, params={"state": state}, max_items=max_items)
        for row in self._client.iterate(flow):
            yield bulk_of(row)

    def abort(self, bulk_id: str) -> BulkOperation:
        """What is done stays done."""
        return self._client.drive(_abort(bulk_id, self._policy))

    def wait(self, bulk_id: str, *, timeout: float | None = None) -> BulkOperation:
        """Until it is done or aborted. Raises WaitTimeout."""
        return self._client.drive(_wait(bulk_id, self._policy, timeout_s=timeout))


class AsyncBulk(AsyncPart):
    """As `Bulk`."""

    async def start(self, action: str, *, idempotency_key: str | None = None, **what: Any) -> BulkOperation:
        return await self._client.drive(_start(_document(action, what), idempotency_key, self._policy))

    async def preview(self, action: str, **what: Any) -> BulkPreview:
        return await self._client.drive(_preview(_document(action, what), self._policy))

    async def get(self, bulk_id: str) -> BulkOperation:
        return await self._client.drive(_get(bulk_id, self._policy))

    async def list(self, *, state: str | None = None, max_items: int | None = None) -> AsyncIterator[BulkOperation]:
        flow = jobs.pages(ALL, self._policy, params={"state": state}, max_items=max_items)
        async for row in self._client.iterate(flow):
            yield bulk_of(row)

    async def abort(self, bulk_id: str) -> BulkOperation:
        return await self._client.drive(_abort(bulk_id, self._policy))

    async def wait(self, bulk_id: str, *, timeout: float | None = None) -> BulkOperation:
        return await self._client.drive(_wait(bulk_id, self._policy, timeout_s=timeout))
