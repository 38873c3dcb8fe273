"""Bulk operations: one order for many jobs."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from jobyard_gateway.documents.schemas import PAGING
from jobyard_gateway.documents.shapes import TEXT, header, operation, query
from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.operations import BulkDocument
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.domain.queries import Pairs, page_faults
from jobyard_gateway.handlers.check_bulk import bulk_content
from jobyard_gateway.inbound.http.bodies import json_body
from jobyard_gateway.inbound.http.owned import Owned
from jobyard_gateway.inbound.http.routing import Endpoint

TAG = "bulk operations"
READ, WRITE = Permission.JOBS_READ, Permission.JOBS_WRITE
ALL, ONE = "/v1/bulk-operations", "/v1/bulk-operations/{bulk_id}"


class BulkRoutes:
    def __init__(self, owned: Owned) -> None:
        self._owned = owned

    def endpoints(self) -> list[Endpoint]:
        owned, tag, one = self._owned, TAG, "BulkOperation"
        state = query("state", TEXT, "running, done or aborted.")
        key = header("Idempotency-Key", "The same key makes no second operation.")
        doc = operation(ok=(202, one), body="NewBulkOperation", parameters=[key])
        return [
            owned.endpoint(
                "GET", ALL, READ, "List bulk operations, newest first", tag=tag, ok=(200, "BulkOperationPage"),
                check=_list_faults, parameters=[state, *PAGING],
            ),
            Endpoint("POST", ALL, WRITE, self.make, "Change many jobs", tag, doc),
            owned.endpoint("GET", ONE, READ, "How far it is", tag=tag, ok=(200, one)),
            owned.endpoint("POST", f"{ONE}/abort", WRITE, "Stop it; what is done stays done", tag=tag, ok=(200, one)),
        ]  # fmt: skip

    async def make(self, request: Request, principal: Principal) -> Response:
        document = await json_body(request, BulkDocument)
        assert document is not None
        content = bulk_content(document)
        return await self._owned.ask("POST", f"/internal{ALL}", principal, request, params=[], content=content)


def _list_faults(pairs: Pairs) -> list[Fault]:
    return page_faults(pairs, others=("state",))
