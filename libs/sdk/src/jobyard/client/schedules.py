"""`client.schedules`, blocking and awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from jobyard.client import changing, jobs
from jobyard.client.answers import Document
from jobyard.client.changing import given
from jobyard.client.effects import Flow, Request
from jobyard.client.models import convert
from jobyard.client.part import AsyncPart, Part
from jobyard.client.requests import query, segment
from jobyard.client.retrying import Policy, call_json

ALL = "/v1/schedules"


class Fire(msgspec.Struct, frozen=True):
    """`outcome`: started, skipped, waiting, or missed (up to `until`)."""

    fire_at: datetime
    kind: str
    outcome: str
    reason: str | None = None
    until: datetime | None = None
    job_id: str | None = None
    job_state: str | None = None
    job_reason: str | None = None


class LastFire(msgspec.Struct, frozen=True):
    fire_at: datetime
    outcome: str
    job_id: str | None = None


class Backfill(msgspec.Struct, frozen=True):
    """`count` fires are made good, `already` of the range had their job; `fires` are the first hundred."""

    count: int
    already: int
    dry_run: bool
    fires: list[datetime]


class Schedule(msgspec.Struct, frozen=True):
    """`state`: active, paused or ended. `etag` is for `if_match`; `document` is the answer as it came."""

    id: str
    name: str
    state: str
    version: int
    tool: str
    tool_version: str
    template: dict[str, Any]
    overlap: str
    catch_up: str
    jitter_s: float
    paused: bool
    cron: str | None = None
    timezone: str | None = None
    interval_s: float | None = None
    at: datetime | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    next_fires: list[datetime] = []
    last_fire: LastFire | None = None
    created_at: datetime | None = None
    document: dict[str, Any] = {}

    @property
    def etag(self) -> str:
        return f'"{self.version}"'


def schedule_of(document: Document) -> Schedule:
    return convert(document | {"document": document}, Schedule)


def _path(schedule_id: str) -> str:
    return f"{ALL}/{segment(schedule_id, what='a schedule id')}"


def _make(document: Mapping[str, Any], key: str | None, policy: Policy) -> Flow[Schedule]:
    return schedule_of((yield from changing.make(ALL, document, policy, idempotency_key=key)))


def _get(schedule_id: str, count: int | None, policy: Policy) -> Flow[Schedule]:
    return schedule_of((yield from call_json(Request("GET", _path(schedule_id), query({"next": count})), policy)))


def _replace(schedule_id: str, document: Mapping[str, Any], if_match: str | None, policy: Policy) -> Flow[Schedule]:
    return schedule_of((yield from changing.replace(_path(schedule_id), document, policy, if_match=if_match)))


def _steer(schedule_id: str, verb: str, policy: Policy) -> Flow[Schedule]:
    return schedule_of((yield from changing.act(f"{_path(schedule_id)}/{verb}", policy, safe=True)))


def _trigger(schedule_id: str, overlap: str | None, policy: Policy) -> Flow[Fire]:
    path, document = f"{_path(schedule_id)}/trigger", given({"overlap": overlap})
    return convert((yield from changing.act(path, policy, document=document, safe=False)), Fire)


def _backfill(schedule_id: str, document: Mapping[str, Any], policy: Policy) -> Flow[Backfill]:
    path = f"{_path(schedule_id)}/backfill"
    return convert((yield from changing.act(path, policy, document=document, safe=True)), Backfill)


def _document(name: str, template: Mapping[str, Any], timing: Mapping[str, Any]) -> dict[str, Any]:
    return given({"name": name, "template": template, **timing})


class Schedules(Part):
    def create(
        self, name: str, template: Mapping[str, Any], *, idempotency_key: str | None = None, **timing: Any
    ) -> Schedule:
        """`template` is a submit (`tool`, `parameters`, …). One of `cron` (with `timezone`), `interval_s` and `at`;
        further `overlap`, `catch_up`, `starts_at`, `ends_at`, `jitter_s`, `paused`."""
        return self._client.drive(_make(_document(name, template, timing), idempotency_key, self._policy))

    def get(self, schedule_id: str, *, next_fires: int | None = None) -> Schedule:
        return self._client.drive(_get(schedule_id, next_fires, self._policy))

    def list(self, *, name: str | None = None, max_items: int | None = None) -> Iterator[Schedule]:
        """Newest first, over all pages."""
        for row in self._client.iterate(jobs.pages(ALL, self._policy, params={"name": name}, max_items=max_items)):
            yield schedule_of(row)

    def replace(self, schedule_id: str, document: Mapping[str, Any], *, if_match: str | None = None) -> Schedule:
        """All members at once. Raises Refused (`precondition_failed`) if it is not `if_match` any more."""
        return self._client.drive(_replace(schedule_id, document, if_match, self._policy))

    def delete(self, schedule_id: str, *, if_match: str | None = None) -> None:
        """Its jobs stay."""
        self._client.drive(changing.delete(_path(schedule_id), self._policy, if_match=if_match))

    def pause(self, schedule_id: str) -> Schedule:
        return self._client.drive(_steer(schedule_id, "pause", self._policy))

    def resume(self, schedule_id: str) -> Schedule:
        """From now on: what the pause left out is not made good."""
        return self._client.drive(_steer(schedule_id, "resume", self._policy))

    def trigger(self, schedule_id: str, *, overlap: str | None = None) -> Fire:
        """Fire now, also while paused. It is sent once, as a repeat would be a second fire."""
        return self._client.drive(_trigger(schedule_id, overlap, self._policy))

    def backfill(
        self, schedule_id: str, *, since: datetime, until: datetime, overlap: str | None = None, dry_run: bool = False
    ) -> Backfill:
        """Make good the fires from `since` to `until` that have no job yet; repeating it changes nothing."""
        document = given({"since": since, "until": until, "overlap": overlap, "dry_run": dry_run})
        return self._client.drive(_backfill(schedule_id, document, self._policy))

    def fires(self, schedule_id: str, *, max_items: int | None = None) -> Iterator[Fire]:
        """Newest first."""
        flow = jobs.pages(f"{_path(schedule_id)}/fires", self._policy, params={}, max_items=max_items)
        for row in self._client.iterate(flow):
            yield convert(row, Fire)


class AsyncSchedules(AsyncPart):
    """As `Schedules`."""

    async def create(
        self, name: str, template: Mapping[str, Any], *, idempotency_key: str | None = None, **timing: Any
    ) -> Schedule:
        return await self._client.drive(_make(_document(name, template, timing), idempotency_key, self._policy))

    async def get(self, schedule_id: str, *, next_fires: int | None = None) -> Schedule:
        return await self._client.drive(_get(schedule_id, next_fires, self._policy))

    async def list(self, *, name: str | None = None, max_items: int | None = None) -> AsyncIterator[Schedule]:
        flow = jobs.pages(ALL, self._policy, params={"name": name}, max_items=max_items)
        async for row in self._client.iterate(flow):
            yield schedule_of(row)

    async def replace(self, schedule_id: str, document: Mapping[str, Any], *, if_match: str | None = None) -> Schedule:
        return await self._client.drive(_replace(schedule_id, document, if_match, self._policy))

    async def delete(self, schedule_id: str, *, if_match: str | None = None) -> None:
        await self._client.drive(changing.delete(_path(schedule_id), self._policy, if_match=if_match))

    async def pause(self, schedule_id: str) -> Schedule:
        return await self._client.drive(_steer(schedule_id, "pause", self._policy))

    async def resume(self, schedule_id: str) -> Schedule:
        return await self._client.drive(_steer(schedule_id, "resume", self._policy))

    async def trigger(self, schedule_id: str, *, overlap: str | None = None) -> Fire:
        return await self._client.drive(_trigger(schedule_id, overlap, self._policy))

    async def backfill(
        self, schedule_id: str, *, since: datetime, until: datetime, overlap: str | None = None, dry_run: bool = False
    ) -> Backfill:
        document = given({"since": since, "until": until, "overlap": overlap, "dry_run": dry_run})
        return await self._client.drive(_backfill(schedule_id, document, self._policy))

    async def fires(self, schedule_id: str, *, max_items: int | None = None) -> AsyncIterator[Fire]:
        flow = jobs.pages(f"{_path(schedule_id)}/fires", self._policy, params={}, max_items=max_items)
        async for row in self._client.iterate(flow):
            yield convert(row, Fire)
