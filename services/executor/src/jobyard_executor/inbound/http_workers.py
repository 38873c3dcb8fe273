"""Workers, for our own services: who they are, what they run, and the order to drain."""

from __future__ import annotations

import asyncpg
import msgspec
from jobyard_common.http.internal import caller
from jobyard_common.http.problems import Problem
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobyard_executor.domain.snapshot import moment
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.drain_worker import UnknownWorker, drain_worker
from jobyard_executor.inbound.http_parts import get, post
from jobyard_executor.inbound.http_shapes import answer
from jobyard_executor.store import workers
from jobyard_executor.store.workers import WorkerRow

MOST_JOBS = 100


class WorkerApi:
    """A worker's id is the name of its instance. Everybody sees how many jobs run; which, only those of the tenant."""

    def __init__(self, engine: Engine, pool: asyncpg.Pool) -> None:
        self._engine = engine
        self._pool = pool

    def routes(self) -> list[Route]:
        return [
            get("/workers", self.list),
            get("/workers/{id}", self.show),
            post("/workers/{id}/drain", self.drain),
            post("/workers/{id}/resume", self.resume),
        ]

    async def list(self, _request: Request) -> Response:
        rows = await workers.view(self._pool)
        held = await workers.held(self._pool, [row.session for row in rows])
        data = [worker_body(row, held.get(row.session, {})) for row in rows]
        return answer({"data": data, "next_cursor": None, "has_more": False})

    async def show(self, request: Request) -> Response:
        rows = await workers.view(self._pool, request.path_params["id"])
        if not rows:
            raise Problem("not_found")
        row = rows[0]
        held = await workers.held(self._pool, [row.session])
        jobs = await workers.jobs(self._pool, caller(request).tenant, row.session, limit=MOST_JOBS)
        body = worker_body(row, held.get(row.session, {}))
        body["jobs"] = [
            {
                "job_id": job["job_id"],
                "tool": job["tool"],
                "queue": job["queue"],
                "attempt": job["attempt"],
                "started_at": moment(job["started_at"]),
            }
            for job in jobs
        ]
        return answer(body)

    async def drain(self, request: Request) -> Response:
        return await self._order(request, drained=True)

    async def resume(self, request: Request) -> Response:
        return await self._order(request, drained=False)

    async def _order(self, request: Request, *, drained: bool) -> Response:
        instance = request.path_params["id"]
        try:
            await drain_worker(self._engine, self._pool, caller(request), instance, drained=drained)
        except UnknownWorker:
            raise Problem("not_found") from None
        if await workers.view(self._pool, instance):
            return await self.show(request)
        return answer({"id": instance, "instance": instance, "alive": False, "draining": drained})


def worker_body(row: WorkerRow, held: dict[str, int]) -> dict[str, object]:
    slots: dict[str, int] = msgspec.json.decode(row.slots)
    return {
        "id": row.instance,
        "instance": row.instance,
        "session": row.session,
        "host": row.host,
        "pid": row.pid,
        "version": row.version,
        "roles": row.roles,
        "queues": row.queues,
        "alive": row.alive,
        "draining": row.drained_since is not None,
        "draining_since": moment(row.drained_since) if row.drained_since else None,
        "started_at": moment(row.started_at),
        "beat_at": moment(row.beat_at),
        "tools": row.tools,
        "levels": row.levels,
        "slots": {kind: {"used": held.get(kind, 0), "total": total} for kind, total in slots.items()},
        "running": sum(held.values()),
    }
