"""Reads of runs, and cancel, retry and replay: one command, and then the executor's word on what became of it."""

from __future__ import annotations

import msgspec
from jobyard_common.contracts import workflows as flow
from jobyard_common.contracts.ids import is_id, new_id
from jobyard_common.contracts.wire import encode, milliseconds
from jobyard_common.http.context import RequestContext
from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import FieldError, Problem
from jobyard_common.runtime.clock import Clock

from jobyard_gateway.domain.permissions import Principal
from jobyard_gateway.handlers.give_order import Orders
from jobyard_gateway.handlers.start_run import links
from jobyard_gateway.outbound.answers import problem_of
from jobyard_gateway.outbound.barrier import Barrier
from jobyard_gateway.outbound.command_log import CommandLog, LogAway
from jobyard_gateway.outbound.commands import Commands, NotKept
from jobyard_gateway.outbound.executor import Executor, actor_of

ENDED = frozenset({"succeeded", "failed", "cancelled"})
_UNSURE = "Nobody can tell at the moment: what knows of this run is away or has fallen behind."
_FINISHED = "The run is finished."
_NOT_FINISHED = "The run is not finished; cancel it first."

Pairs = list[tuple[str, str]]


class _State(msgspec.Struct):
    state: str


class RunSteering:
    def __init__(
        self,
        orders: Orders,
        commands: Commands,
        barrier: Barrier,
        executor: Executor,
        *,
        log: CommandLog,
        cell: str,
        clock: Clock,
    ) -> None:
        self._orders = orders
        self._commands = commands
        self._barrier = barrier
        self._executor = executor
        self._log = log
        self._cell = cell
        self._clock = clock

    async def read(self, run_id: str, principal: Principal, params: Pairs | None = None, *, part: str = "") -> bytes:
        """A run, or a part of it; 404 only behind everything that anybody was promised. Raises Problem."""
        if not is_id("wfr", run_id):
            raise Problem("not_found")
        path = f"/internal/v1/workflow-runs/{run_id}{part}"
        try:
            answer = await self._executor.get(
                path, principal=principal, after=await self._barrier.header(principal.tenant), params=params
            )
            if answer.status_code == 404 and not part:
                if await self._commands.holds(run_id):
                    raise Problem("unavailable", "The run is accepted, and the executor has not taken it in yet.")
                after = await self._log.after([run_id])
                answer = await self._executor.get(path, principal=principal, after=after, params=params)
        except (ServiceAway, NotKept, LogAway):
            raise Problem("unavailable", _UNSURE) from None
        if answer.status_code >= 400:
            raise problem_of(answer)
        return answer.content if part else with_links(answer.content)

    async def cancel(self, run_id: str, principal: Principal, context: RequestContext) -> bytes:
        await self._look(run_id, principal, ended=False)
        command = flow.CancelRun(new_id("cmd", cell=self._cell), run_id, principal.tenant, actor_of(principal))
        return await self._command(flow.CANCEL_RUN, command, principal, context, shows=run_id)

    async def again(
        self,
        run_id: str,
        principal: Principal,
        context: RequestContext,
        *,
        steps: tuple[str, ...],
        whole: bool,
        given: msgspec.Raw | None,
    ) -> bytes:
        """A new run: of the named steps and what follows them, of what did not succeed, or of the `whole`."""
        await self._look(run_id, principal, ended=True)
        command = flow.RetryRun(
            new_id("cmd", cell=self._cell),
            run_id,
            principal.tenant,
            actor_of(principal),
            new_id("wfr", cell=self._cell),
            milliseconds(self._clock.now()),
            steps=steps,
            whole=whole,
            input=given,
        )
        return await self._command(flow.RETRY_RUN, command, principal, context, shows=command.new_run_id)

    async def _look(self, run_id: str, principal: Principal, *, ended: bool) -> None:
        """The cheap refusals."""
        state = msgspec.json.decode(await self.read(run_id, principal, [("limit", "1")]), type=_State).state
        if not ended and state in ENDED:
            raise Problem("job_finished", _FINISHED)
        if ended and state not in ENDED:
            raise Problem("job_not_finished", _NOT_FINISHED)

    async def _command(
        self,
        kind: str,
        command: flow.CancelRun | flow.RetryRun,
        principal: Principal,
        context: RequestContext,
        *,
        shows: str,
    ) -> bytes:
        given = await self._orders.give(
            kind, command, subject=command.run_id, principal=principal, context=context, needs_order=True
        )
        outcome = given.outcome
        if outcome is not None and outcome.outcome != "applied":
            raise _refusal(outcome.outcome)
        if outcome is not None:
            return await self.read(shows, principal)
        # The command is durable; the run that it makes, or what it changes, is seen later.
        return encode({"id": shows, "state": "accepted", "links": links(shows)})


def _refusal(outcome: str) -> Problem:
    if outcome == "validation_failed":
        return Problem("validation_failed", errors=[FieldError("/steps", "The run has no such step.")])
    if outcome == "job_finished":
        return Problem("job_finished", _FINISHED)
    if outcome == "job_not_finished":
        return Problem("job_not_finished", _NOT_FINISHED)
    return Problem("not_found" if outcome == "not_found" else "conflict")


def with_links(body: bytes) -> bytes:
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    run_id = msgspec.json.decode(members["id"], type=str)
    return encode({**members, "links": links(run_id)})


def page_with_links(body: bytes) -> bytes:
    page = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    rows = msgspec.json.decode(page["data"], type=list[msgspec.Raw])
    return encode({**page, "data": [msgspec.Raw(with_links(bytes(row))) for row in rows]})
