"""`client.workflows` and `client.runs`, blocking and awaited."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from jobyard.client import changing, jobs
from jobyard.client.answers import Document
from jobyard.client.changing import given
from jobyard.client.effects import Flow, Request, emit, sleep
from jobyard.client.models import convert
from jobyard.client.part import AsyncPart, Part
from jobyard.client.requests import query, segment
from jobyard.client.retrying import Policy, call_json
from jobyard.client.workflow_models import Run, RunStep, StoredWorkflow
from jobyard.errors import InvalidArgument, WaitTimeout
from jobyard.workflow import Workflow

ALL, RUNS = "/v1/workflows", "/v1/workflow-runs"
STEPS_A_PAGE = 1000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


def _run(document: Document) -> Run:
    return convert(document | {"document": document}, Run)


def _workflow(document: Document) -> StoredWorkflow:
    return convert(document | {"document": document}, StoredWorkflow)


def _path(run_id: str) -> str:
    return f"{RUNS}/{segment(run_id, what='the id of a run')}"


def _put(workflow: Workflow | Mapping[str, Any], policy: Policy) -> Flow[StoredWorkflow]:
    document = workflow.document if isinstance(workflow, Workflow) else workflow
    return _workflow((yield from changing.act(ALL, policy, document=document, safe=True)))


def _get(reference: str, policy: Policy) -> Flow[StoredWorkflow]:
    path = f"{ALL}/{segment(reference, what='a workflow')}"
    return _workflow((yield from call_json(Request("GET", path), policy)))


def _start(
    workflow: Workflow | Mapping[str, Any] | str, given_: Mapping[str, Any] | None, key: str | None, policy: Policy
) -> Flow[Run]:
    document: dict[str, Any]
    if isinstance(workflow, str):
        document = {"workflow": workflow}
    elif isinstance(workflow, Workflow):
        document = {"graph": workflow.graph, "name": workflow.name}
    elif "steps" in workflow:
        document = {"graph": {name: workflow[name] for name in ("steps", "input") if name in workflow}}
        document |= {"name": workflow["name"]} if workflow.get("name") else {}
    else:
        raise InvalidArgument("a workflow is a Workflow, a document with steps, or the name of a stored one")
    document |= given({"input": given_})
    return _run((yield from changing.make(RUNS, document, policy, idempotency_key=key)))


def _read(run_id: str, policy: Policy, *, limit: int = 1) -> Flow[Run]:
    return _run((yield from call_json(Request("GET", _path(run_id), query({"limit": limit})), policy)))


def _steps(run_id: str, states: Sequence[str] | None, policy: Policy) -> Flow[None]:
    cursor: object = None
    while True:
        asked = query({"limit": STEPS_A_PAGE, "cursor": cursor, "state": states})
        page = yield from call_json(Request("GET", _path(run_id), asked), policy)
        for row in page.get("steps") or []:
            yield from emit(convert(row, RunStep))
        cursor = page.get("next_cursor")
        if not cursor:
            return


def _steer(run_id: str, verb: str, document: Mapping[str, Any] | None, policy: Policy) -> Flow[Run]:
    path = f"{_path(run_id)}/{verb}"
    return _run((yield from changing.act(path, policy, document=document, safe=verb == "cancel")))


def _wait(run_id: str, timeout_s: float | None, policy: Policy) -> Flow[Run]:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    pause = _FIRST_PAUSE_S
    while True:
        run = yield from _read(run_id, policy)
        if run.ended:
            return run
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise WaitTimeout(f"{run_id} is still {run.state} after {timeout_s:g} s", job_id=run_id)
        yield from sleep(pause if left is None else min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


class Workflows(Part):
    def put(self, workflow: Workflow | Mapping[str, Any]) -> StoredWorkflow:
        """Store a workflow, or a new version of its name; the same graph again makes none."""
        return self._client.drive(_put(workflow, self._policy))

    def get(self, workflow: str) -> StoredWorkflow:
        """By id, by `name@version`, or the newest of a name."""
        return self._client.drive(_get(workflow, self._policy))

    def list(self, *, name: str | None = None, max_items: int | None = None) -> Iterator[StoredWorkflow]:
        """Every version, newest first, without its steps."""
        for row in self._client.iterate(jobs.pages(ALL, self._policy, params={"name": name}, max_items=max_items)):
            yield _workflow(row)

    def delete(self, workflow_id: str) -> None:
        """Delete a version; its runs go on."""
        self._client.drive(changing.delete(f"{ALL}/{segment(workflow_id, what='a workflow id')}", self._policy))


class Runs(Part):
    def start(
        self,
        workflow: Workflow | Mapping[str, Any] | str,
        *,
        input: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Start a stored workflow by its id, name or name@version, or a graph that is not stored."""
        return self._client.drive(_start(workflow, input, idempotency_key, self._policy))

    def get(self, run_id: str) -> Run:
        return self._client.drive(_read(run_id, self._policy))

    def list(self, *, max_items: int | None = None, **filters: Any) -> Iterator[Run]:
        """Newest first. Filters: `state` (one or a list), `name`, `workflow_id`; `limit` is the page size."""
        for row in self._client.iterate(jobs.pages(RUNS, self._policy, params=filters, max_items=max_items)):
            yield _run(row)

    def steps(self, run_id: str, *, state: Sequence[str] | None = None) -> Iterator[RunStep]:
        """Every step, over all pages, in the order of the graph."""
        return self._client.iterate(_steps(run_id, state, self._policy))

    def items(self, run_id: str, step: str, *, state: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The jobs of a fan-out, in the order of its list."""
        path = f"{_path(run_id)}/steps/{segment(step, what='a step')}"
        return self._client.iterate(jobs.pages(path, self._policy, params={"state": state, "limit": STEPS_A_PAGE}))

    def wait(self, run_id: str, *, timeout_s: float | None = None) -> Run:
        """The run once it has ended. Raises WaitTimeout."""
        return self._client.drive(_wait(run_id, timeout_s, self._policy))

    def cancel(self, run_id: str) -> Run:
        return self._client.drive(_steer(run_id, "cancel", None, self._policy))

    def retry(
        self,
        run_id: str,
        *,
        steps: Sequence[str] = (),
        input: Mapping[str, Any] | None = None,
    ) -> Run:
        """A new run that keeps what succeeded: of what did not, or of these `steps` and all that follow them."""
        document = given({"steps": list(steps) or None, "input": input})
        return self._client.drive(_steer(run_id, "retry", document, self._policy))

    def replay(self, run_id: str, *, input: Mapping[str, Any] | None = None) -> Run:
        """A new run of all of it."""
        return self._client.drive(_steer(run_id, "replay", given({"input": input}), self._policy))


class AsyncWorkflows(AsyncPart):
    """As `Workflows`."""

    async def put(self, workflow: Workflow | Mapping[str, Any]) -> StoredWorkflow:
        return await self._client.drive(_put(workflow, self._policy))

    async def get(self, workflow: str) -> StoredWorkflow:
        return await self._client.drive(_get(workflow, self._policy))

    async def list(self, *, name: str | None = None, max_items: int | None = None) -> AsyncIterator[StoredWorkflow]:
        flow = jobs.pages(ALL, self._policy, params={"name": name}, max_items=max_items)
        async for row in self._client.iterate(flow):
            yield _workflow(row)

    async def delete(self, workflow_id: str) -> None:
        await self._client.drive(changing.delete(f"{ALL}/{segment(workflow_id, what='a workflow id')}", self._policy))


class AsyncRuns(AsyncPart):
    """As `Runs`."""

    async def start(
        self,
        workflow: Workflow | Mapping[str, Any] | str,
        *,
        input: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        return await self._client.drive(_start(workflow, input, idempotency_key, self._policy))

    async def get(self, run_id: str) -> Run:
        return await self._client.drive(_read(run_id, self._policy))

    async def list(self, *, max_items: int | None = None, **filters: Any) -> AsyncIterator[Run]:
        async for row in self._client.iterate(jobs.pages(RUNS, self._policy, params=filters, max_items=max_items)):
            yield _run(row)

    def steps(self, run_id: str, *, state: Sequence[str] | None = None) -> AsyncIterator[RunStep]:
        return self._client.iterate(_steps(run_id, state, self._policy))

    def items(self, run_id: str, step: str, *, state: Sequence[str] | None = None) -> AsyncIterator[dict[str, Any]]:
        path = f"{_path(run_id)}/steps/{segment(step, what='a step')}"
        return self._client.iterate(jobs.pages(path, self._policy, params={"state": state, "limit": STEPS_A_PAGE}))

    async def wait(self, run_id: str, *, timeout_s: float | None = None) -> Run:
        return await self._client.drive(_wait(run_id, timeout_s, self._policy))

    async def cancel(self, run_id: str) -> Run:
        return await self._client.drive(_steer(run_id, "cancel", None, self._policy))

    async def retry(
        self,
        run_id: str,
        *,
        steps: Sequence[str] = (),
        input: Mapping[str, Any] | None = None,
    ) -> Run:
        document = given({"steps": list(steps) or None, "input": input})
        return await self._client.drive(_steer(run_id, "retry", document, self._policy))

    async def replay(self, run_id: str, *, input: Mapping[str, Any] | None = None) -> Run:
        return await self._client.drive(_steer(run_id, "replay", given({"input": input}), self._policy))
