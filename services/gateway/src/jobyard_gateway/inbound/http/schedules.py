"""Schedules: jobs that come again, or once at a time to come."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from jobyard_gateway.documents.schemas import PAGING
from jobyard_gateway.documents.shapes import TEXT, Doc, header, operation, query
from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.domain.queries import Pairs, integer, page_faults
from jobyard_gateway.domain.schedules import BackfillDocument, TriggerDocument
from jobyard_gateway.handlers.check_schedule import ScheduleChecker
from jobyard_gateway.handlers.submit_job import MAX_BODY_BYTES
from jobyard_gateway.inbound.http.bodies import read_body, require_json
from jobyard_gateway.inbound.http.owned import Owned, inner_path
from jobyard_gateway.inbound.http.routing import Endpoint

TAG = "schedules"
READ, WRITE = Permission.JOBS_READ, Permission.JOBS_WRITE
ALL, ONE = "/v1/schedules", "/v1/schedules/{schedule_id}"
_IF_MATCH = header("If-Match", "The ETag that was read; 412 when the schedule has changed since.")
_NEXT = query("next", {"type": "integer", "minimum": 1, "maximum": 100}, "How many fires to come are shown.")


class ScheduleRoutes:
    def __init__(self, owned: Owned, checker: ScheduleChecker) -> None:
        self._owned = owned
        self._checker = checker

    def endpoints(self) -> list[Endpoint]:
        owned, named = self._owned, query("name", TEXT, "Schedules of this name.")
        schedule, tag, kept = (200, "Schedule"), TAG, [_IF_MATCH]
        return [
            owned.endpoint(
                "GET", ALL, READ, "List schedules, newest first", tag=tag, ok=(200, "SchedulePage"), check=_list_faults,
                parameters=[named, *PAGING],
            ),
            Endpoint("POST", ALL, WRITE, self.make, "Make a schedule", tag, _document(201)),
            owned.endpoint(
                "GET", ONE, READ, "Get a schedule", tag=tag, ok=schedule, check=_next_faults, parameters=[_NEXT]
            ),
            Endpoint("PUT", ONE, WRITE, self.replace, "Change a schedule as a whole", tag, _document(200, *kept)),
            owned.endpoint("DELETE", ONE, WRITE, "Delete a schedule", tag=tag, ok=(204, None), parameters=kept),
            owned.endpoint("POST", f"{ONE}/pause", WRITE, "Stop its fires", tag=tag, ok=schedule, parameters=kept),
            owned.endpoint("POST", f"{ONE}/resume", WRITE, "Let it fire again", tag=tag, ok=schedule, parameters=kept),
            owned.endpoint(
                "POST", f"{ONE}/trigger", WRITE, "Fire now", tag=tag, ok=(202, "Fire"), body=TriggerDocument,
                schema="Trigger", optional_body=True,
            ),
            owned.endpoint(
                "POST", f"{ONE}/backfill", WRITE, "Make good the fires of a range", tag=tag,
                ok=(202, "BackfillAnswer"), body=BackfillDocument, schema="Backfill",
            ),
            owned.endpoint(
                "GET", f"{ONE}/fires", READ, "List its fires, newest first", tag=tag, ok=(200, "FirePage"),
                check=page_faults, parameters=PAGING,
            ),
        ]  # fmt: skip

    async def make(self, request: Request, principal: Principal) -> Response:
        return await self._send("POST", ALL, request, principal, new=True)

    async def replace(self, request: Request, principal: Principal) -> Response:
        return await self._send("PUT", ONE, request, principal, new=False)

    async def _send(self, method: str, path: str, request: Request, principal: Principal, *, new: bool) -> Response:
        body = await read_body(request.scope, request.receive, limit=MAX_BODY_BYTES)
        headers = request.headers
        require_json(headers.get("content-type", "").encode(), headers.get("content-encoding", "").encode())
        content = await self._checker.check(body, tenant=principal.tenant, new=new)
        inner = inner_path(path, request)
        return await self._owned.ask(method, inner, principal, request, params=[], content=content)


def _document(status: int, *parameters: Doc) -> Doc:
    return operation(ok=(status, "Schedule"), body="NewSchedule", parameters=list(parameters) or None)


def _list_faults(pairs: Pairs) -> list[Fault]:
    return page_faults(pairs, others=("name",))


def _next_faults(pairs: Pairs) -> list[Fault]:
    return [
        Fault(name[:128], "Unknown parameter." if name != "next" else "An integer from 1 to 100.")
        for name, value in pairs
        if name != "next" or not integer(value, most=100)
    ]
