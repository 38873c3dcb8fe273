"""Cancel, retry, replay, reschedule: one command, and then the executor's word on what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import msgspec
from jobyard_common.contracts import jobs
from jobyard_common.contracts.envelope import encode as headers_of
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.ids import is_id, new_id
from jobyard_common.contracts.topics import JOBS_COMMANDS
from jobyard_common.contracts.wire import encode
from jobyard_common.http.context import RequestContext
from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import Problem
from jobyard_common.messaging.publisher import OutRecord, Sent

from jobyard_gateway.domain.permissions import Principal
from jobyard_gateway.handlers.read_jobs import JobReader, state_of
from jobyard_gateway.handlers.submit_job import SOURCE
from jobyard_gateway.outbound.barrier import Barrier
from jobyard_gateway.outbound.commands import Commands, NotKept
from jobyard_gateway.outbound.executor import Executor, Outcome, actor_of

TERMINAL = frozenset(state.value for state in jobs.TERMINAL)
OUTCOME_S = 5.0
ASK_EVERY_S = 0.02
_REFUSALS = frozenset({"job_finished", "job_not_finished", "not_found", "validation_failed", "conflict"})


class Steering:
    """Changes to jobs that exist. Each answers with the job that was changed or made."""

    def __init__(
        self,
        reader: JobReader,
        commands: Commands,
        barrier: Barrier,
        executor: Executor,
        *,
        cell: str,
        monotonic: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._commands = commands
        self._barrier = barrier
        self._executor = executor
        self._cell = cell
        self._monotonic = monotonic

    async def cancel(self, job_id: str, principal: Principal, context: RequestContext) -> bytes:
        await self._look(job_id, principal, refuse_in=TERMINAL, with_code="job_finished")
        command = jobs.CancelJob(self._id("cmd"), job_id, principal.tenant, actor_of(principal))
        return await self._command(jobs.CANCEL, command, command.command_id, job_id, principal, context)

    async def retry(self, job_id: str, principal: Principal, context: RequestContext) -> bytes:
        await self._look(job_id, principal, refuse_in=frozenset({"succeeded"}), with_code="job_finished")
        command = jobs.RetryJob(self._id("cmd"), job_id, principal.tenant, actor_of(principal), self._id("job"))
        return await self._command(jobs.RETRY, command, command.command_id, job_id, principal, context)

    async def replay(
        self, job_id: str, principal: Principal, context: RequestContext, *, parameters: msgspec.Raw | None
    ) -> bytes:
        await self._look(job_id, principal, refuse_in=frozenset(), with_code="job_not_finished")
        command = jobs.ReplayJob(
            self._id("cmd"), job_id, principal.tenant, actor_of(principal), self._id("job"), parameters
        )
        return await self._command(jobs.REPLAY, command, command.command_id, job_id, principal, context)

    async def reschedule(
        self, job_id: str, principal: Principal, context: RequestContext, *, run_at: datetime
    ) -> bytes:
        await self._look(job_id, principal, refuse_in=TERMINAL, with_code="job_finished")
        command = jobs.RescheduleJob(self._id("cmd"), job_id, principal.tenant, actor_of(principal), run_at)
        return await self._command(
            jobs.RESCHEDULE, command, command.command_id, job_id, principal, context, needs_order=True
        )

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
        command: msgspec.Struct,
        command_id: str,
        job_id: str,
        principal: Principal,
        context: RequestContext,
        *,
        needs_order: bool = False,
    ) -> bytes:
        envelope = new_envelope(
            kind,
            source=SOURCE,
            subject=job_id,
            correlation_id=context.correlation_id,
            traceparent=context.trace.format(),
        )
        record = OutRecord(JOBS_COMMANDS.name, job_id, encode(command), headers_of(envelope))
        try:
            kept = await self._commands.keep_behind(record, needs_order=needs_order)
        except NotKept:
            raise Problem("unavailable", "The command could not be stored safely; its outcome is unknown.") from None
        if not isinstance(kept, Sent):
            # It waits behind Kafka; the promise holds, the outcome comes later.
            return (await self._reader.job(job_id, principal)).body
        self._barrier.wrote(principal.tenant, kept)
        outcome = await self._outcome(command_id, principal)
        if outcome is not None and outcome.outcome != "applied":
            raise Problem(outcome.outcome if outcome.outcome in _REFUSALS else "conflict")
        return (await self._reader.job((outcome and outcome.job_id) or job_id, principal)).body

    async def _outcome(self, command_id: str, principal: Principal) -> Outcome | None:
        """The executor's word; None if it gives none in time, the command being durable all the same."""
        deadline = self._monotonic() + OUTCOME_S
        after = await self._barrier.header(principal.tenant)
        while True:
            try:
                found = await self._executor.outcome(command_id, principal=principal, after=after)
            except ServiceAway:
                return None
            if found is not None or self._monotonic() > deadline:
                return found
            await asyncio.sleep(ASK_EVERY_S)

    def _id(self, prefix: str) -> str:
        return new_id(prefix, cell=self._cell)
