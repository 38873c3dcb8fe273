"""An order about something that exists: one durable command, and then the executor's word on what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec
from jobyard_common.contracts.envelope import encode as headers_of
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.topics import JOBS_COMMANDS
from jobyard_common.contracts.wire import encode
from jobyard_common.http.context import RequestContext
from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import Problem
from jobyard_common.messaging.publisher import OutRecord, Sent

from jobyard_gateway.domain.permissions import Principal
from jobyard_gateway.handlers.submit_job import SOURCE
from jobyard_gateway.outbound.barrier import Barrier
from jobyard_gateway.outbound.commands import Commands, NotKept
from jobyard_gateway.outbound.executor import Executor, Outcome

OUTCOME_S = 5.0
ASK_EVERY_S = 0.02


class Command(Protocol):
    @property
    def command_id(self) -> str: ...


class Given(msgspec.Struct, frozen=True):
    """The command is durable. `sent` says that Kafka has it, not only the spool; `outcome` is None if the executor
    did not say in time what became of it."""

    sent: bool
    outcome: Outcome | None = None


class Orders:
    def __init__(
        self, commands: Commands, barrier: Barrier, executor: Executor, *, monotonic: Callable[[], float]
    ) -> None:
        self._commands = commands
        self._barrier = barrier
        self._executor = executor
        self._monotonic = monotonic

    async def give(
        self,
        kind: str,
        command: Command,
        *,
        subject: str,
        principal: Principal,
        context: RequestContext,
        needs_order: bool = False,
    ) -> Given:
        """Keep the command, in order behind those of the same `subject` if it `needs_order`.

        Raises:
            Problem: unavailable, where nobody can promise that it is kept.
        """
        envelope = new_envelope(
            kind,
            source=SOURCE,
            subject=subject,
            correlation_id=context.correlation_id,
            traceparent=context.trace.format(),
        )
        record = OutRecord(JOBS_COMMANDS.name, subject, encode(command), headers_of(envelope))
        try:
            kept = await self._commands.keep_behind(record, needs_order=needs_order)
        except NotKept:
            raise Problem("unavailable", "The command could not be stored safely; its outcome is unknown.") from None
        if not isinstance(kept, Sent):
            return Given(sent=False)
        self._barrier.wrote(principal.tenant, kept)
        return Given(sent=True, outcome=await self._outcome(command.command_id, principal))

    async def _outcome(self, command_id: str, principal: Principal) -> Outcome | None:
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
