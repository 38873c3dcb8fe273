"""Workflows, and their runs."""

from __future__ import annotations

import msgspec
from fastapi import Request
from jobyard_common.contracts.references import STEP_NAME
from jobyard_common.contracts.wire import OptionalRaw
from jobyard_common.contracts.workflows import MAX_GRAPH_BYTES
from jobyard_common.http.context import current
from jobyard_common.http.problems import Problem
from starlette.responses import Response

from jobyard_gateway.documents import schemas as doc
from jobyard_gateway.documents.shapes import TEXT, Doc, header, operation, query
from jobyard_gateway.documents.workflows import RUN_STATES, STEP_STATES
from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.domain.queries import Pairs, integer, page_faults
from jobyard_gateway.handlers.repeat_safely import checked_key
from jobyard_gateway.handlers.start_run import RunStarter
from jobyard_gateway.handlers.steer_run import RunSteering, page_with_links
from jobyard_gateway.handlers.submit_job import Origin, refused
from jobyard_gateway.inbound.http.bodies import json_body, read_body, require_json
from jobyard_gateway.inbound.http.owned import Check, Owned
from jobyard_gateway.inbound.http.routing import Endpoint, json_answer
from jobyard_gateway.outbound.executor import actor_of

TAG = "workflows"
READ, WRITE = Permission.JOBS_READ, Permission.JOBS_WRITE
ALL, ONE = "/v1/workflows", "/v1/workflows/{workflow}"
RUNS, RUN = "/v1/workflow-runs", "/v1/workflow-runs/{run_id}"
MAX_RUN_BYTES = 1024 * 1024
_KEY = header("Idempotency-Key", "1 to 255 visible ASCII characters; the same key means the same run.")
_STEPS: list[Doc] = [
    query("state", {"type": "array", "items": {"enum": STEP_STATES}}, "Any of these states."),
    query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "Rows of a page, 200 if not given."),
    query("cursor", TEXT, "`next_cursor` of the page before."),
]
_RUNS: list[Doc] = [
    query("state", {"type": "array", "items": {"enum": RUN_STATES}}, "Any of these states."),
    query("name", TEXT, "Runs of this name."),
    query("workflow_id", TEXT, "Runs of this stored workflow."),
    *doc.PAGING,
]


class RetryDocument(msgspec.Struct, forbid_unknown_fields=True):
    """`steps`: these and all that follow them; without them, what did not succeed."""

    steps: list[str] = []
    input: OptionalRaw = None


class ReplayDocument(msgspec.Struct, forbid_unknown_fields=True):
    input: OptionalRaw = None


class WorkflowRoutes:
    def __init__(self, owned: Owned, starter: RunStarter, steering: RunSteering) -> None:
        self._owned = owned
        self._starter = starter
        self._steering = steering

    def endpoints(self) -> list[Endpoint]:
        owned = self._owned
        run = operation(ok=(202, "WorkflowRun"))
        return [
            owned.endpoint(
                "GET", ALL, READ, "List workflows, newest first", tag=TAG, ok=(200, "WorkflowPage"),
                check=_workflow_faults, parameters=[query("name", TEXT, "Versions of this name."), *doc.PAGING],
            ),
            Endpoint(
                "POST", ALL, WRITE, self.put, "Store a workflow, or a new version of one", TAG,
                operation(ok=(201, "Workflow"), body="NewWorkflow"),
            ),
            owned.endpoint("GET", ONE, READ, "Get a workflow by id, name or name@version", tag=TAG,
                           ok=(200, "Workflow")),
            owned.endpoint("DELETE", ONE, WRITE, "Delete a version; its runs go on", tag=TAG, ok=(204, None)),
            Endpoint(
                "GET", RUNS, READ, self.list, "List runs, newest first", TAG,
                operation(ok=(200, "WorkflowRunPage"), parameters=_RUNS),
            ),
            Endpoint(
                "POST", RUNS, WRITE, self.start, "Start a run", TAG,
                operation(ok=(202, "WorkflowRun"), body="NewWorkflowRun", parameters=[_KEY]),
            ),
            Endpoint(
                "GET", RUN, READ, self.get, "Get a run with a page of its steps", TAG,
                operation(ok=(200, "WorkflowRun"), parameters=_STEPS),
            ),
            Endpoint(
                "GET", f"{RUN}/steps/{{step}}", READ, self.step, "Get a step with a page of its items", TAG,
                operation(ok=(200, "WorkflowStepItems"), parameters=_STEPS),
            ),
            Endpoint("POST", f"{RUN}/cancel", WRITE, self.cancel, "Cancel all of a run", TAG, run),
            Endpoint(
                "POST", f"{RUN}/retry", WRITE, self.retry, "Run again what did not succeed, or from a step on", TAG,
                operation(ok=(202, "WorkflowRun"), body="WorkflowRetry"),
            ),
            Endpoint(
                "POST", f"{RUN}/replay", WRITE, self.replay, "Run all of it again", TAG,
                operation(ok=(202, "WorkflowRun"), body="WorkflowReplay"),
            ),
        ]  # fmt: skip

    async def put(self, request: Request, principal: Principal) -> Response:
        body = await _body(request, limit=MAX_GRAPH_BYTES)
        content = await self._starter.check_workflow(body, tenant=principal.tenant)
        return await self._owned.ask("POST", f"/internal{ALL}", principal, request, params=[], content=content)

    async def list(self, request: Request, principal: Principal) -> Response:
        pairs = _checked(request.query_params.multi_items(), _run_list_faults)
        found = await self._owned.ask("GET", f"/internal{RUNS}", principal, request, params=pairs, content=None)
        return json_answer(page_with_links(bytes(found.body)))

    async def start(self, request: Request, principal: Principal) -> Response:
        key = checked_key(request.headers.get("idempotency-key"))
        body = await _body(request, limit=MAX_RUN_BYTES)
        context = current()
        origin = Origin(principal.tenant, actor_of(principal), context.correlation_id, context.trace)
        run_id, shown, replayed = await self._starter.start(body, origin, key=key)
        if replayed:
            shown = await self._steering.read(run_id, principal, [("limit", "1")])
            return _accepted(shown, headers={"Idempotency-Replayed": "true"})
        return _accepted(shown)

    async def get(self, request: Request, principal: Principal) -> Response:
        pairs = _checked(request.query_params.multi_items(), _step_faults)
        return json_answer(await self._steering.read(request.path_params["run_id"], principal, pairs))

    async def step(self, request: Request, principal: Principal) -> Response:
        pairs = _checked(request.query_params.multi_items(), _step_faults)
        run_id, step = request.path_params["run_id"], request.path_params["step"]
        if STEP_NAME.fullmatch(step) is None:
            raise Problem("not_found")
        return json_answer(await self._steering.read(run_id, principal, pairs, part=f"/steps/{step}"))

    async def cancel(self, request: Request, principal: Principal) -> Response:
        return _accepted(await self._steering.cancel(request.path_params["run_id"], principal, current()))

    async def retry(self, request: Request, principal: Principal) -> Response:
        body = await json_body(request, RetryDocument, optional=True) or RetryDocument()
        if len(body.steps) > 1000:
            raise refused([Fault("/steps", "At most 1,000 steps.")])
        wrong = [n for n, name in enumerate(body.steps) if STEP_NAME.fullmatch(name) is None]
        if wrong:
            raise refused([Fault(f"/steps/{wrong[0]}", "The run has no such step.")])
        return await self._again(request, principal, steps=tuple(body.steps), given=body.input)

    async def replay(self, request: Request, principal: Principal) -> Response:
        body = await json_body(request, ReplayDocument, optional=True) or ReplayDocument()
        return await self._again(request, principal, whole=True, given=body.input)

    async def _again(
        self,
        request: Request,
        principal: Principal,
        *,
        given: msgspec.Raw | None,
        steps: tuple[str, ...] = (),
        whole: bool = False,
    ) -> Response:
        if given is not None and bytes(given) == b"null":
            given = None
        if given is not None and not bytes(given).startswith(b"{"):
            raise refused([Fault("/input", "Expected an object.")])
        run_id = request.path_params["run_id"]
        return _accepted(
            await self._steering.again(run_id, principal, current(), steps=steps, whole=whole, given=given)
        )


async def _body(request: Request, *, limit: int) -> bytes:
    headers = request.headers
    require_json(headers.get("content-type", "").encode(), headers.get("content-encoding", "").encode())
    return await read_body(request.scope, request.receive, limit=limit)


def _accepted(body: bytes, *, headers: dict[str, str] | None = None) -> Response:
    run_id = msgspec.json.decode(msgspec.json.decode(body, type=dict[str, msgspec.Raw])["id"], type=str)
    return json_answer(body, status=202, headers={"Location": f"/v1/workflow-runs/{run_id}", **(headers or {})})


def _checked(pairs: Pairs, faults_of: Check) -> Pairs:
    if pairs and (faults := faults_of(pairs)):
        raise refused(faults)
    return pairs


def _workflow_faults(pairs: Pairs) -> list[Fault]:
    return page_faults(pairs, others=("name",))


def _run_list_faults(pairs: Pairs) -> list[Fault]:
    plain = [(name, value) for name, value in pairs if name != "state"]
    return _state_faults(pairs, RUN_STATES) + page_faults(plain, others=("name", "workflow_id"))


def _step_faults(pairs: Pairs) -> list[Fault]:
    faults = _state_faults(pairs, STEP_STATES)
    for name, value in pairs:
        if name == "limit" and not (integer(value, most=1000) and value != "0"):
            faults.append(Fault("limit", "An integer from 1 to 1000."))
        elif name == "cursor" and not integer(value, most=10**9):
            faults.append(Fault("cursor", "Is not a cursor of this list."))
        elif name not in ("state", "limit", "cursor"):
            faults.append(Fault(name[:128], "Unknown parameter."))
    return faults


def _state_faults(pairs: Pairs, known: list[str]) -> list[Fault]:
    if len(pairs) > 100:
        return [Fault("", "More than 100 parameters.")]
    wrong = [value for name, value in pairs if name == "state" and value not in known]
    return [Fault("state", f"{wrong[0][:64]!r} is no state here.")] if wrong else []
