"""Schedules by HTTP, for the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
from jobyard_common.contracts.jobs import JobSpec
from jobyard_common.contracts.wire import decode
from jobyard_common.http.internal import caller
from jobyard_common.http.problems import FieldError, Problem
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobyard_executor.domain.schedule import Schedule, preview
from jobyard_executor.domain.snapshot import moment
from jobyard_executor.handlers import put_schedule as putting
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.fire_schedules import after_commit
from jobyard_executor.handlers.put_schedule import ScheduleBody, etag
from jobyard_executor.handlers.run_schedule import BackfillBody, TriggerBody, backfill, trigger
from jobyard_executor.inbound import http_shapes as shapes
from jobyard_executor.inbound.http_parts import body_of, delete, get, number, post, put
from jobyard_executor.store import schedules as store

NEXT_SHOWN = 5
MAX_NEXT = 100


class ScheduleApi:
    def __init__(self, engine: Engine, pool: asyncpg.Pool) -> None:
        self._engine = engine
        self._pool = pool

    def routes(self) -> Sequence[Route]:
        one = "/schedules/{schedule_id}"
        return [
            get("/schedules", self.list),
            post("/schedules", self.make),
            get(one, self.get),
            put(one, self.replace),
            delete(one, self.delete),
            post(f"{one}/pause", self.pause),
            post(f"{one}/resume", self.resume),
            post(f"{one}/trigger", self.trigger),
            post(f"{one}/backfill", self.backfill),
            get(f"{one}/fires", self.fires),
        ]

    async def list(self, request: Request) -> Response:
        query, limit = request.query_params, shapes.limit_of(request.query_params)
        after = shapes.cursor_of(query)
        found = await store.page(
            self._pool, caller(request).tenant, after=after, name=query.get("name"), limit=limit + 1
        )
        page, more = found[:limit], len(found) > limit
        return shapes.answer(
            {
                "data": [self._shape(row) for row in page],
                "next_cursor": shapes.cursor_text((page[-1].created_at, page[-1].id)) if more else None,
                "has_more": more,
            }
        )

    async def make(self, request: Request) -> Response:
        body, who = await body_of(request, ScheduleBody), caller(request)
        async with self._pool.acquire() as connection, connection.transaction():
            schedule, new = await putting.make_schedule(
                self._engine, connection, body, caller=who, key=request.headers.get("idempotency-key")
            )
        self._engine.wake_relay()
        headers = {"ETag": etag(schedule), "Location": f"/v1/schedules/{schedule.id}"}
        if not new:
            headers["Idempotency-Replayed"] = "true"
        return shapes.answer(self._shape(schedule), headers=headers, status=201)

    async def get(self, request: Request) -> Response:
        count = number(request, "next")
        if count is not None and not 1 <= count <= MAX_NEXT:
            raise Problem("validation_failed", errors=[FieldError("next", f"must be 1 to {MAX_NEXT}")])
        return self._answer(await self._found(request), count=count or NEXT_SHOWN)

    async def replace(self, request: Request) -> Response:
        body = await body_of(request, ScheduleBody)
        async with self._pool.acquire() as connection, connection.transaction():
            schedule = await putting.replace_schedule(
                self._engine,
                connection,
                request.path_params["schedule_id"],
                body,
                caller=caller(request),
                if_match=request.headers.get("if-match"),
            )
        self._engine.wake_relay()
        return self._answer(schedule)

    async def delete(self, request: Request) -> Response:
        async with self._pool.acquire() as connection, connection.transaction():
            await putting.delete_schedule(
                self._engine,
                connection,
                request.path_params["schedule_id"],
                caller=caller(request),
                if_match=request.headers.get("if-match"),
            )
        self._engine.wake_relay()
        return Response(status_code=204)

    async def pause(self, request: Request) -> Response:
        return await self._pause(request, paused=True)

    async def resume(self, request: Request) -> Response:
        return await self._pause(request, paused=False)

    async def _pause(self, request: Request, *, paused: bool) -> Response:
        async with self._pool.acquire() as connection, connection.transaction():
            schedule = await putting.pause_schedule(
                self._engine,
                connection,
                request.path_params["schedule_id"],
                paused=paused,
                caller=caller(request),
                if_match=request.headers.get("if-match"),
            )
        self._engine.wake_relay()
        return self._answer(schedule)

    async def trigger(self, request: Request) -> Response:
        body = await body_of(request, TriggerBody)
        async with self._pool.acquire() as connection, connection.transaction():
            fire, stops = await trigger(
                self._engine, connection, request.path_params["schedule_id"], body, caller=caller(request)
            )
        after_commit(self._engine, stops)
        return shapes.answer(_fire(msgspec.structs.asdict(fire)), status=202)

    async def backfill(self, request: Request) -> Response:
        body = await body_of(request, BackfillBody)
        async with self._pool.acquire() as connection, connection.transaction():
            found = await backfill(
                self._engine, connection, request.path_params["schedule_id"], body, caller=caller(request)
            )
        self._engine.wake_relay()
        shape = {
            "count": found.count,
            "already": found.already,
            "dry_run": body.dry_run,
            "fires": [moment(one) for one in found.fires],
        }
        return shapes.answer(shape, status=202)

    async def fires(self, request: Request) -> Response:
        schedule, limit = await self._found(request), shapes.limit_of(request.query_params)
        after = shapes.cursor_of(request.query_params)
        rows = await store.fires(self._pool, schedule.id, before=after[0] if after else None, limit=limit + 1)
        page, more = rows[:limit], len(rows) > limit
        cursor = shapes.cursor_text((page[-1]["fire_at"], "")) if more else None
        return shapes.answer({"data": [_fire(row) for row in page], "next_cursor": cursor, "has_more": more})

    async def _found(self, request: Request) -> Schedule:
        found = await store.get(self._pool, caller(request).tenant, request.path_params["schedule_id"])
        if found is None:
            raise Problem("not_found")
        return found

    def _answer(self, schedule: Schedule, *, count: int = NEXT_SHOWN) -> Response:
        return shapes.answer(self._shape(schedule, count=count), headers={"ETag": etag(schedule)})

    def _shape(self, schedule: Schedule, *, count: int = NEXT_SHOWN) -> dict[str, object]:
        spec = decode(JobSpec, schedule.spec.encode())
        last: dict[str, object] | None = None
        if schedule.last_fire_at is not None:
            last = {
                "fire_at": moment(schedule.last_fire_at),
                "outcome": schedule.last_outcome,
                "job_id": schedule.last_job_id,
            }
        state = "paused" if schedule.paused else "active" if schedule.next_at else "ended"
        return {
            "id": schedule.id,
            "name": schedule.name,
            "state": state,
            "version": schedule.version,
            "tool": spec.tool,
            "tool_version": spec.tool_version,
            "template": msgspec.Raw(schedule.template.encode()),
            "cron": schedule.cron,
            "timezone": schedule.timezone,
            "interval_s": schedule.interval_s,
            "at": _moment(schedule.at),
            "overlap": schedule.overlap,
            "catch_up": schedule.catch_up,
            "starts_at": _moment(schedule.starts_at),
            "ends_at": _moment(schedule.ends_at),
            "jitter_s": schedule.jitter_s,
            "paused": schedule.paused,
            "next_fires": [moment(one) for one in preview(schedule, now=self._engine.clock.now(), count=count)],
            "last_fire": last,
            "created_at": moment(schedule.created_at),
            "created_by": schedule.created_by,
            "changed_at": moment(schedule.changed_at),
        }


def _moment(value: datetime | None) -> str | None:
    return None if value is None else moment(value)


def _fire(row: dict[str, Any]) -> dict[str, object]:
    return {
        "fire_at": moment(row["fire_at"]),
        "kind": row["kind"],
        "outcome": row["outcome"],
        "reason": row["reason"],
        "until": _moment(row["until"]),
        "recorded_at": moment(row["recorded_at"]),
        "job_id": row["job_id"],
        "job_state": row.get("job_state"),
        "job_reason": row.get("job_reason"),
    }
