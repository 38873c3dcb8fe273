"""Cancel, retry, replay, reschedule: one command, and then the executor's word on what became of it."""

from __future__ import annotations

from datetime import datetime

import msgspec
from jobyard_common.contracts import jobs
from jobyard_common.contracts.ids import is_id, new_id
from jobyard_common.http.context import RequestContext
from jobyard_common.http.problems import Problem

from jobyard_gateway.domain.permissions import Principal
from jobyard_gateway.handlers.give_order import Command, Orders
from jobyard_gateway.handlers.read_jobs import JobReader, state_of
from jobyard_gateway.outbound.executor import actor_of

TERMINAL = frozenset(state.value for state in jobs.TERMINAL)
_REFUSALS = frozenset({"job_finished", "job_not_finished", "not_found", "validation_failed", "conflict"})


MAY_WAIT = frozenset({"accepted", "scheduled"})


def _waits_for_no_time(state: str) -> Problem:
    return Problem("job_not_finished", f"Only a job that waits for its time can be moved; this one is {state}.")


class Steering:
    """Changes to jobs that exist. Each answers with the job that was changed or made."""

    def __init__(self, reader: JobReader, orders: Orders, *, cell: str) -> None:
        self._reader = reader
        self._orders = orders
        self._cell = cell

    async def cancel(self, job_id: str, principal: Principal, context: RequestContext) -> bytes:
        await self._look(job_id, principal, refuse_in=TERMINAL, with_code="job_finished")
        command = jobs.CancelJob(self._id("cmd"), job_id, principal.tenant, actor_of(principal))
        return await self._command(jobs.CANCEL, command, job_id, principal, context)

    async def retry(self, job_id: str, principal: Principal, context: RequestContext) -> bytes:
        await self._look(job_id, principal, refuse_in=frozenset({"succeeded"}), with_code="job_finished")
        command = jobs.RetryJob(self._id("cmd"), job_id, principal.tenant, actor_of(principal), self._id("job"))
        return await self._command(jobs.RETRY, command, job_id, principal, context)

    async def replay(
        self, job_id: str, principal: Principal, context: RequestContext, *, parameters: msgspec.Raw | None
    ) -> bytes:
        await self._look(job_id, principal, refuse_in=frozenset(), with_code="job_not_finished")
        command = jobs.ReplayJob(
            self._id("cmd"), job_id, principal.tenant, actor_of(principal), self._id("job"), parameters
        )
        return await self._command(jobs.REPLAY, command, job_id, principal, context)

    async def reschedule(
        self, job_id: str, principal: Principal, context: RequestContext, *, run_at: datetime
    ) -> bytes:
        found = state_of(await self._look(job_id, principal, refuse_in=TERMINAL, with_code="job_finished"))
        if found not in MAY_WAIT:
            raise _waits_for_no_time(found)
        command = jobs.RescheduleJob(self._id("cmd"), job_id, principal.tenant, actor_of(principal), run_at)
        try:
            return await self._command(jobs.RESCHEDULE, command, job_id, principal, context, needs_order=True)
        except Problem as problem:
            if problem.code != "job_not_finished":
                raise
            raise _waits_for_no_time("under way") from None

    async def _look(self, job_id: str, principal: Principal, *, refuse_in: frozenset[str], with_code: str) -> bytes:
        """The cheap refusals: terminal states never change, so what is finished now stays finished."""
        if not is_id("job", job_id):
            raise Problem("not_found")
        job = (await self._reader.job(job_id, principal)).body
        if state_of(job) in refuse_in:
            raise Problem(with_code)
        return job

    async def _command(
        self,
        kind: str,
        command: Command,
        job_id: str,
        principal: Principal,
        context: RequestContext,
        *,
        needs_order: bool = False,
    ) -> bytes:
        given = await self._orders.give(
            kind, command, subject=job_id, principal=principal, context=context, needs_order=needs_order
        )
        outcome = given.outcome
        if outcome is not None and outcome.outcome != "applied":
            raise Problem(outcome.outcome if outcome.outcome in _REFUSALS else "conflict")
        return (await self._reader.job((outcome and outcome.job_id) or job_id, principal)).body

    def _id(self, prefix: str) -> str:
        return new_id(prefix, cell=self._cell)
