"""`client.queues`, `client.limits` and `client.workers`, blocking and awaited. Changes are for operators, except limits
of one's own keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec

from jobyard.client import changing, jobs
from jobyard.client.answers import Document
from jobyard.client.changing import given
from jobyard.client.effects import Flow, Request
from jobyard.client.models import convert
from jobyard.client.part import AsyncPart, Part
from jobyard.client.requests import body, segment
from jobyard.client.retrying import Policy, call_json


class Queue(msgspec.Struct, frozen=True):
    """`depth` by state, a moment old; `limits` has concurrency, rate and max_waiting, each None where there is none."""

    name: str
    paused: bool
    draining: bool = False
    weight: float = 1.0
    depth: dict[str, int] = {}
    oldest_age_s: float | None = None
    limits: dict[str, Any] = {}
    rates: dict[str, float] = {}
    document: dict[str, Any] = {}


class Limit(msgspec.Struct, frozen=True):
    """`running` counts everybody's jobs; `holders` are those of the caller's tenant, and only `get` tells them."""

    key: str
    concurrency: int | None = None
    rate: dict[str, Any] | None = None
    weight: float | None = None
    running: int = 0
    holders: list[dict[str, Any]] = []
    document: dict[str, Any] = {}


class Worker(msgspec.Struct, frozen=True):
    """`slots` by isolation, each with used and total; `jobs` are those of the caller's tenant, and only `get` tells
    them."""

    id: str
    alive: bool
    draining: bool = False
    version: str = ""
    host: str = ""
    queues: list[str] = []
    slots: dict[str, dict[str, int]] = {}
    running: int = 0
    jobs: list[dict[str, Any]] = []
    document: dict[str, Any] = {}


def queue_of(document: Document) -> Queue:
    return convert(document | {"document": document}, Queue)


def limit_of(document: Document) -> Limit:
    return convert(document | {"document": document}, Limit)


def worker_of(document: Document) -> Worker:
    return convert(document | {"document": document}, Worker)


def _queue(name: str) -> str:
    return f"/v1/queues/{segment(name, what='a name of a queue')}"


def _limit(key: str) -> str:
    """A slash can't stand in one segment of a path; the API reads `~1` for it."""
    return f"/v1/limits/{segment(key.replace('~', '~0').replace('/', '~1'), what='a key of a limit')}"


def _worker(name: str) -> str:
    return f"/v1/workers/{segment(name, what='an id of a worker')}"


def _route(tool: str) -> str:
    return f"/v1/routes/{segment(tool, what='a tool name')}"


def _get(path: str, policy: Policy) -> Flow[Document]:
    return (yield from call_json(Request("GET", path), policy))


def _patch(path: str, document: Mapping[str, Any], policy: Policy, *, if_match: str | None) -> Flow[Document]:
    headers = {"Content-Type": "application/json"} | ({"If-Match": if_match} if if_match else {})
    return (
        yield from call_json(Request("PATCH", path, headers=headers, content=body(document)), policy, safe=not if_match)
    )


def _act(path: str, verb: str, policy: Policy) -> Flow[Document]:
    return (yield from changing.act(f"{path}/{verb}", policy, safe=True))


class Queues(Part):
    def list(self) -> Iterator[Queue]:
        for row in self._client.iterate(jobs.pages("/v1/queues", self._policy, params={})):
            yield queue_of(row)

    def get(self, name: str) -> Queue:
        return queue_of(self._client.drive(_get(_queue(name), self._policy)))

    def change(self, name: str, *, if_match: str | None = None, **changes: Any) -> Queue:
        """`weight`, `paused`, `draining`, `limits` (concurrency, rate, max_waiting); what is not named stays."""
        return queue_of(self._client.drive(_patch(_queue(name), changes, self._policy, if_match=if_match)))

    def pause(self, name: str) -> Queue:
        """Start no more of its jobs."""
        return queue_of(self._client.drive(_act(_queue(name), "pause", self._policy)))

    def resume(self, name: str) -> Queue:
        return queue_of(self._client.drive(_act(_queue(name), "resume", self._policy)))

    def drain(self, name: str) -> Queue:
        """Take no more jobs; those that wait still run."""
        return queue_of(self._client.drive(_act(_queue(name), "drain", self._policy)))

    def routes(self) -> Iterator[Document]:
        """Which queue the jobs of a tool go to that name none."""
        yield from self._client.iterate(jobs.pages("/v1/routes", self._policy, params={}))

    def route(self, tool: str, *, queue: str) -> Document:
        return self._client.drive(changing.replace(_route(tool), {"queue": queue}, self._policy, if_match=None))

    def unroute(self, tool: str) -> None:
        self._client.drive(changing.delete(_route(tool), self._policy))


class AsyncQueues(AsyncPart):
    """As `Queues`."""

    async def list(self) -> AsyncIterator[Queue]:
        async for row in self._client.iterate(jobs.pages("/v1/queues", self._policy, params={})):
            yield queue_of(row)

    async def get(self, name: str) -> Queue:
        return queue_of(await self._client.drive(_get(_queue(name), self._policy)))

    async def change(self, name: str, *, if_match: str | None = None, **changes: Any) -> Queue:
        return queue_of(await self._client.drive(_patch(_queue(name), changes, self._policy, if_match=if_match)))

    async def pause(self, name: str) -> Queue:
        return queue_of(await self._client.drive(_act(_queue(name), "pause", self._policy)))

    async def resume(self, name: str) -> Queue:
        return queue_of(await self._client.drive(_act(_queue(name), "resume", self._policy)))

    async def drain(self, name: str) -> Queue:
        return queue_of(await self._client.drive(_act(_queue(name), "drain", self._policy)))

    async def routes(self) -> AsyncIterator[Document]:
        async for row in self._client.iterate(jobs.pages("/v1/routes", self._policy, params={})):
            yield row

    async def route(self, tool: str, *, queue: str) -> Document:
        return await self._client.drive(changing.replace(_route(tool), {"queue": queue}, self._policy, if_match=None))

    async def unroute(self, tool: str) -> None:
        await self._client.drive(changing.delete(_route(tool), self._policy))


class Limits(Part):
    """Keys: `queue:…`, `tool:…`, `tenant:…` (operators), `key:…` and `fairness:…` (one's own)."""

    def list(self, *, max_items: int | None = None) -> Iterator[Limit]:
        for row in self._client.iterate(jobs.pages("/v1/limits", self._policy, params={}, max_items=max_items)):
            yield limit_of(row)

    def get(self, key: str) -> Limit:
        return limit_of(self._client.drive(_get(_limit(key), self._policy)))

    def put(
        self,
        key: str,
        *,
        concurrency: int | None = None,
        rate: Mapping[str, Any] | None = None,
        weight: float | None = None,
        if_match: str | None = None,
    ) -> Limit:
        """`rate`: `count` starts in `per_s` seconds, `burst` at once after a pause."""
        document = given({"concurrency": concurrency, "rate": rate, "weight": weight})
        return limit_of(self._client.drive(changing.replace(_limit(key), document, self._policy, if_match=if_match)))

    def delete(self, key: str, *, if_match: str | None = None) -> None:
        self._client.drive(changing.delete(_limit(key), self._policy, if_match=if_match))


class AsyncLimits(AsyncPart):
    """As `Limits`."""

    async def list(self, *, max_items: int | None = None) -> AsyncIterator[Limit]:
        flow = jobs.pages("/v1/limits", self._policy, params={}, max_items=max_items)
        async for row in self._client.iterate(flow):
            yield limit_of(row)

    async def get(self, key: str) -> Limit:
        return limit_of(await self._client.drive(_get(_limit(key), self._policy)))

    async def put(
        self,
        key: str,
        *,
        concurrency: int | None = None,
        rate: Mapping[str, Any] | None = None,
        weight: float | None = None,
        if_match: str | None = None,
    ) -> Limit:
        document = given({"concurrency": concurrency, "rate": rate, "weight": weight})
        flow = changing.replace(_limit(key), document, self._policy, if_match=if_match)
        return limit_of(await self._client.drive(flow))

    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        await self._client.drive(changing.delete(_limit(key), self._policy, if_match=if_match))


class Workers(Part):
    def list(self) -> Iterator[Worker]:
        for row in self._client.iterate(jobs.pages("/v1/workers", self._policy, params={})):
            yield worker_of(row)

    def get(self, worker_id: str) -> Worker:
        return worker_of(self._client.drive(_get(_worker(worker_id), self._policy)))

    def drain(self, worker_id: str) -> Worker:
        """Let it claim nothing more, after a restart neither; what runs there ends as ever."""
        return worker_of(self._client.drive(_act(_worker(worker_id), "drain", self._policy)))

    def resume(self, worker_id: str) -> Worker:
        return worker_of(self._client.drive(_act(_worker(worker_id), "resume", self._policy)))


class AsyncWorkers(AsyncPart):
    """As `Workers`."""

    async def list(self) -> AsyncIterator[Worker]:
        async for row in self._client.iterate(jobs.pages("/v1/workers", self._policy, params={})):
            yield worker_of(row)

    async def get(self, worker_id: str) -> Worker:
        return worker_of(await self._client.drive(_get(_worker(worker_id), self._policy)))

    async def drain(self, worker_id: str) -> Worker:
        return worker_of(await self._client.drive(_act(_worker(worker_id), "drain", self._policy)))

    async def resume(self, worker_id: str) -> Worker:
        return worker_of(await self._client.drive(_act(_worker(worker_id), "resume", self._policy)))
