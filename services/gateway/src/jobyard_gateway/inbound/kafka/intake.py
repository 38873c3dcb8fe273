"""`jobs.intake`: producers that speak Kafka, with the same checks as over HTTP.

The commands that a batch makes are rows of the spool, written in the transaction that moves the offset: a record
becomes exactly one job, or a dead letter with its reason and an entry in the audit. What needs others is asked before
that transaction. While a record's queue is full, or what it names can't be looked up, its partition waits: nothing is
refused for it, and the other partitions go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from jobyard_common.contracts.envelope import EnvelopeInvalid
from jobyard_common.contracts.envelope import decode as envelope_of
from jobyard_common.contracts.jobs import SUBMIT, Actor, ActorKind
from jobyard_common.contracts.topics import JOBS_INTAKE
from jobyard_common.db.connection import Connection
from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import Problem
from jobyard_common.messaging import outbox
from jobyard_common.messaging.audit import audit_record
from jobyard_common.messaging.inbound import Inbound, Refused
from jobyard_common.messaging.placement import Hold
from jobyard_common.messaging.publisher import OutRecord
from jobyard_common.runtime.clock import Clock
from jobyard_common.telemetry.context import TraceContext, new_trace
from jobyard_common.telemetry.logging import get_logger

from jobyard_gateway.domain.permissions import Permission
from jobyard_gateway.handlers.admit import Admission
from jobyard_gateway.handlers.authenticate import Authenticator, allow
from jobyard_gateway.handlers.repeat_safely import Repeats, checked_key
from jobyard_gateway.handlers.submit_job import MAX_BODY_BYTES, SOURCE, Draft, Origin, Submitter
from jobyard_gateway.outbound.executor import actor_of

log = get_logger("intake")
MOST_HEADERS = 64
WAIT_FOR = frozenset({"unavailable", "queue_full"})


@dataclass(frozen=True)
class Producer:
    tenant: str
    actor: Actor


Read = Draft | Problem | None
"""What a record is: a new job, a refusal, or a job that was promised before."""


class Intake:
    def __init__(
        self,
        submitter: Submitter,
        repeats: Repeats,
        authenticator: Authenticator,
        admission: Admission,
        *,
        default_tenant: str,
        clock: Clock,
        root: Callable[[], TraceContext],
    ) -> None:
        self._submitter = submitter
        self._repeats = repeats
        self._authenticator = authenticator
        self._admission = admission
        self._default = Producer(default_tenant, Actor(ActorKind.PRODUCER, JOBS_INTAKE.name))
        self._clock = clock
        self._root = root
        self._read: dict[int, Read] = {}
        self._batch: list[Inbound] = []
        self._made: list[Draft] = []

    async def prepare(self, batch: list[Inbound]) -> dict[int, Hold]:
        """Check each record; which partitions wait from which record on. What was let in once is not counted again."""
        kept = {id(record) for record in self._batch} & {id(record) for record in batch}
        self._read = {record: read for record, read in self._read.items() if record in kept}
        self._batch = batch
        holds: dict[int, Hold] = {}
        taken = {read.job_id for read in self._read.values() if isinstance(read, Draft)}
        for record in batch:
            if record.partition in holds or id(record) in self._read:
                continue
            try:
                read = self._read[id(record)] = await self._look_at(record, taken)
            except Problem as problem:
                if problem.code in WAIT_FOR:
                    holds[record.partition] = Hold(record.offset, problem.detail)
                else:
                    self._read[id(record)] = problem
            else:
                if read is not None:
                    taken.add(read.job_id)
        return holds

    async def _look_at(self, record: Inbound, taken: set[str]) -> Draft | None:
        draft = await self._draft(record)
        given = record.header("idempotency-key") != ""
        if given and (draft.job_id in taken or not await self._repeats.is_new(draft)):
            return None
        # A backlog may be long: what is not known yet is asked first.
        await self._admission.know(draft.command.tenant)
        self._submitter.admit(draft)
        return draft

    async def apply(self, connection: Connection, batch: list[Inbound]) -> list[Refused]:
        """Drafts into the spool, refusals to the caller and into the audit; all in the caller's transaction."""
        made: dict[str, Draft] = {}
        refused: list[Refused] = []
        notes = []
        for record in batch:
            read = self._read[id(record)]
            if isinstance(read, Problem):
                refused.append(Refused(record, read.code, _story(read)))
                notes.append(self._note(record, read))
            elif read is not None:
                made[read.job_id] = read
        await outbox.put(connection, [*(draft.record for draft in made.values()), *notes])
        self._made = list(made.values())
        return refused

    def after_commit(self) -> None:
        for draft in self._made:
            self._submitter.remember(draft, None)
        self._made = []

    async def _draft(self, record: Inbound) -> Draft:
        if len(record.headers) > MOST_HEADERS:
            raise Problem("bad_request", f"More than {MOST_HEADERS} headers.")
        correlation = self._envelope(record)
        producer = await self._producer(record)
        value = record.value or b""
        if len(value) > MAX_BODY_BYTES:
            raise Problem("payload_too_large", f"The record has more than {MAX_BODY_BYTES // 1024} KiB.")
        checked = self._submitter.read(value)
        try:
            await self._submitter.look_up(checked, tenant=producer.tenant)
        except ServiceAway as error:
            raise Problem("unavailable", str(error)) from None
        trace = record.context() or self._root()
        origin = Origin(producer.tenant, producer.actor, correlation or new_trace(sampled=False).span_id, trace)
        return self._submitter.draft(checked, origin, key=_key(record))

    def _envelope(self, record: Inbound) -> str:
        """The correlation id; raises Problem for broken CloudEvents."""
        correlation = record.header("correlation-id")
        if any(name.lower().startswith("ce_") for name, _ in record.headers):
            try:
                envelope = envelope_of(record.headers)
            except EnvelopeInvalid as error:
                raise Problem("bad_request", f"Not a CloudEvent: {error}.") from None
            if envelope.type != SUBMIT:
                raise Problem("bad_request", f"ce_type is {envelope.type[:128]!r}, want {SUBMIT}.")
            correlation = envelope.correlation_id or correlation
        fits = 1 <= len(correlation) <= 64 and correlation.isascii()
        return correlation if fits and all(c.isalnum() or c in "._-" for c in correlation) else ""

    async def _producer(self, record: Inbound) -> Producer:
        key = record.header("jobyard-api-key")
        if not key:
            return self._default
        principal = await self._authenticator.of_key(key)
        allow(principal, Permission.JOBS_WRITE)
        return Producer(principal.tenant, actor_of(principal))

    def _note(self, record: Inbound, problem: Problem) -> OutRecord:
        trace = record.context() or self._root()
        target = f"{JOBS_INTAKE.name}/{record.partition}/{record.offset}"
        log.info("intake.refused", target=target, code=problem.code)
        return audit_record(
            source=SOURCE,
            tenant=self._default.tenant,
            actor=self._default.actor,
            action="intake.refuse",
            target=target,
            outcome=problem.code,
            at=self._clock.now(),
            detail={"topic": JOBS_INTAKE.name, "message": _story(problem)},
            correlation_id=record.header("correlation-id")[:64] or trace.span_id,
            traceparent=trace.format(),
        )


def _key(record: Inbound) -> str:
    """The producer's key, else one that this very append has and no other."""
    given = record.header("idempotency-key")
    if given:
        checked_key(given)
        return given
    digest = hashlib.sha256(record.value or b"").hexdigest()
    return f"{record.topic}/{record.partition}/{record.offset}/{record.timestamp_ms}/{digest}"


def _story(problem: Problem) -> str:
    errors = "; ".join(f"{row.pointer}: {row.message}" for row in problem.errors[:10])
    return f"{problem.detail} {errors}".strip()[:1000]
