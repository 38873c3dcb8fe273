"""Submit one job: check everything, promise it durably, show it.

read → check its tool → look up what it names → (a key: whose is it?) → keep the promise → remember it
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import msgspec
from jobyard_common.contracts.ids import keyed_id
from jobyard_common.contracts.jobs import PARAMETERS_SLOT, Actor, ActorKind, SubmitJob
from jobyard_common.contracts.wire import encode, milliseconds
from jobyard_common.http.problems import FieldError, Problem
from jobyard_common.messaging.lots import PackedRecord
from jobyard_common.messaging.publisher import OutRecord, Sent
from jobyard_common.runtime.clock import Clock
from jobyard_common.telemetry import metrics
from jobyard_common.telemetry.context import TraceContext
from prometheus_client import Counter

from jobyard_gateway.domain import submission as submissions
from jobyard_gateway.domain.canonical import body_hash, input_hash
from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.job_spec import job_spec
from jobyard_gateway.domain.strict_json import MalformedJson, parse
from jobyard_gateway.domain.submission import Submission
from jobyard_gateway.domain.submit_faults import missing_faults, with_tool_faults
from jobyard_gateway.domain.tools import Registry, Tool
from jobyard_gateway.handlers.admit import Admission
from jobyard_gateway.outbound import submit_records
from jobyard_gateway.outbound.barrier import Barrier
from jobyard_gateway.outbound.commands import Commands, Kept, NotKept
from jobyard_gateway.outbound.ledger import Ledger, Promise
from jobyard_gateway.outbound.queue_book import QueueBook
from jobyard_gateway.outbound.references import References
from jobyard_gateway.outbound.submit_records import SOURCE as SOURCE
from jobyard_gateway.outbound.submit_records import Said

MAX_BODY_BYTES = 256 * 1024
LARGER_PARAMETERS = f'Upload larger parameters as a JSON file and name it in files as "{PARAMETERS_SLOT}".'


class Origin(msgspec.Struct, frozen=True):
    """Who submits, and under which trace."""

    tenant: str
    actor: Actor
    correlation_id: str
    trace: TraceContext


class Checked(msgspec.Struct, frozen=True):
    """A submit that nothing is wrong with."""

    tree: dict[str, object]
    submission: Submission
    tool: Tool


class Draft(msgspec.Struct, frozen=True):
    """A command ready to be published, and what the ledger keeps of it."""

    job_id: str
    promise: Promise
    command: SubmitJob
    origin: Origin

    @property
    def record(self) -> OutRecord:
        return submit_records.whole(self.job_id, self.promise.command, self._said())

    def packed(self) -> PackedRecord:
        return submit_records.packed(self.job_id, self.promise.command, self._said())

    def _said(self) -> Said:
        return Said(self.origin.correlation_id, self.origin.trace.format(), self.command.accepted_at)


class Submitter:
    """The steps that a submit by HTTP, in a batch and from the intake topic have in common."""

    def __init__(
        self,
        registry: Registry,
        references: References,
        commands: Commands,
        *,
        ledger: Ledger,
        barrier: Barrier,
        id_secret: bytes,
        clock: Clock,
        cell: str,
        admission: Admission | None = None,
        book: QueueBook | None = None,
    ) -> None:
        self._registry = registry
        self._references = references
        self._commands = commands
        self._ledger = ledger
        self._barrier = barrier
        self._admission = admission
        self._book = book
        self._id_secret = id_secret
        self._clock = clock
        self._cell = cell

    def read(self, body: bytes, *, now: datetime | None = None) -> Checked:
        """Check all that needs nobody else.

        Raises:
            Problem: malformed_json, unknown_tool, or validation_failed with every fault.
        """
        try:
            tree = parse(body)
        except MalformedJson as error:
            raise Problem("malformed_json", str(error)) from None
        submission, faults = submissions.read(body, tree, now=now or self._clock.now())
        name = tree.get("tool") if isinstance(tree, dict) else None
        tool = self._registry.find(name) if isinstance(name, str) else None
        unknown = isinstance(name, str) and bool(name) and tool is None
        if tool is not None and isinstance(tree, dict):
            faults = with_tool_faults(faults, tool, tree, submission)
        if faults:
            if unknown:
                faults = [Fault("/tool", "No tool of this name is registered."), *faults]
            raise refused(faults)
        if unknown:
            raise Problem(
                "unknown_tool",
                f"No tool {str(name)[:128]!r} is registered.",
                errors=[FieldError("/tool", "No tool of this name is registered.")],
            )
        assert submission is not None and tool is not None and isinstance(tree, dict)
        return Checked(tree, submission, tool)

    async def look_up(self, checked: Checked, *, tenant: str) -> None:
        """Check that what the submit names exists.

        Raises:
            Problem: validation_failed.
            ServiceAway: whoever could tell is away.
        """
        submission, queue = checked.submission, self._strange_queue(checked)
        if not (submission.files or submission.depends_on or queue):
            return
        missing = await self._references.missing(
            tenant=tenant, files=submission.files.values(), jobs=submission.depends_on, queue=queue
        )
        if missing:
            raise refused(missing_faults(submission, missing))

    def draft(self, checked: Checked, origin: Origin, *, key: str | None) -> Draft:
        """The command that would make this job."""
        if key is None:
            job_id, hashed = self.new_job_id(), ""
        else:
            job_id, hashed = self.keyed_job_id(origin.tenant, key), body_hash(checked.tree)
        command = self.command(checked, origin, job_id=job_id, now=self.now(), keyed=key is not None, hashed=hashed)
        return self.draft_of(command, origin)

    def command(
        self, checked: Checked, origin: Origin, *, job_id: str, now: datetime, keyed: bool = False, hashed: str = ""
    ) -> SubmitJob:
        return SubmitJob(
            command_id=f"cmd_{job_id[4:]}",
            job_id=job_id,
            tenant=origin.tenant,
            actor=origin.actor,
            accepted_at=now,
            spec=job_spec(
                checked.submission,
                checked.tool.definition,
                now=now,
                input_hash=self._input_hash(checked, origin.tenant),
                queue=self.queue_of(checked),
            ),
            keyed=keyed,
            body_hash=hashed,
        )

    def _input_hash(self, checked: Checked, tenant: str) -> str | None:
        """None where no earlier result may answer: the tool does not say so, or a file has no hash yet."""
        definition = checked.tool.definition
        if definition.cache_ttl_s is None:
            return None
        files = self._references.contents(checked.submission.files, tenant=tenant)
        if files is None:
            return None
        return input_hash(definition.name, definition.version, checked.tree.get("parameters", {}), files)

    def draft_of(self, command: SubmitJob, origin: Origin) -> Draft:
        promise = Promise(encode(command), origin.correlation_id, origin.trace.trace_id)
        return Draft(command.job_id, promise, command, origin)

    def admit(self, draft: Draft) -> None:
        """Raises Problem: queue_full or queue_draining."""
        self.admit_queue(draft.command)
        if self._admission is not None:
            self._admission.admit(draft.command.tenant, draft.command.spec.queue)

    def admit_all(self, tenant: str, queues: Sequence[str]) -> list[Problem | None]:
        """For one job more in each of these queues: None if it is let in. Draining queues are not looked at."""
        return [None] * len(queues) if self._admission is None else self._admission.admit_all(tenant, queues)

    def admit_queue(self, command: SubmitJob) -> None:
        """A job that we promised already is no new one.

        Raises:
            Problem: queue_draining.
        """
        queue = command.spec.queue
        if self._book is None or not self._book.is_draining(queue):
            return
        if not self._ledger.knows(command.job_id, tenant=command.tenant):
            raise Problem("queue_draining", f"The queue {queue} takes no new jobs; those that wait in it still run.")

    def queue_of(self, checked: Checked) -> str:
        """Where the job goes: what it says, else the route of its tool, else the tool's own queue."""
        named, definition = checked.submission.queue, checked.tool.definition
        if named is not None or self._book is None:
            return named or definition.queue
        return self._book.queue_of(definition.name, default=definition.queue)

    def holds(self, checked: Checked) -> bool:
        """Whether a submit that names neither files nor jobs would be checked the same way now."""
        return self._registry.find(checked.submission.tool) is checked.tool and self._strange_queue(checked) is None

    def _strange_queue(self, checked: Checked) -> str | None:
        """The queue that a submit names, unless it is known here."""
        queue = checked.submission.queue
        if queue is None or queue == "default" or queue in self._registry.queues():
            return None
        return None if self._book is not None and self._book.knows(queue) else queue

    def new_job_id(self) -> str:
        return self._commands.new_job_id(cell=self._cell)

    def now(self) -> datetime:
        return milliseconds(self._clock.now())

    def keyed_job_id(self, tenant: str, key: str) -> str:
        return keyed_id("job", self._id_secret, tenant=tenant, operation="submit", key=key, cell=self._cell)

    async def keep(self, draft: Draft) -> None:
        """Make it durable and remember it.

        Raises:
            Problem: unavailable, with the id of the job that may exist nevertheless.
        """
        try:
            if self._commands.makes_spans(draft.origin.trace):
                kept = await self._commands.keep(draft.record)
            else:
                kept = await self._commands.keep_soon(draft.packed(), lambda: draft.record)
        except NotKept:
            raise Problem(
                "unavailable",
                "The job could not be stored safely. It may exist nevertheless: repeat with the same idempotency key.",
                extra={"job_id": draft.job_id},
            ) from None
        self.remember(draft, kept)

    def remember(self, draft: Draft, kept: Sent | Kept | None) -> None:
        """What follows a promise that is kept: reads may show it."""
        tenant = draft.command.tenant
        self._ledger.record(draft.job_id, draft.promise, tenant=tenant)
        if isinstance(kept, Sent):
            self._barrier.wrote(tenant, kept)
        self.count(draft.command.actor.kind, 1)

    def count(self, kind: ActorKind, jobs: int) -> None:
        _submitted(kind).inc(jobs)

    async def promised(self, job_id: str, *, tenant: str) -> bool:
        """Whether a 202 for this job is remembered anywhere on our side."""
        return await self._ledger.view(job_id, tenant=tenant) is not None


@lru_cache(maxsize=16)
def _submitted(way: str) -> Counter:
    return metrics.JOBS_SUBMITTED.labels(way=way)


def refused(faults: Sequence[Fault]) -> Problem:
    errors = [FieldError(fault.pointer, fault.message) for fault in faults]
    plural = "s" if len(errors) > 1 else ""
    return Problem("validation_failed", f"{len(errors)} value{plural} of the request can't be accepted.", errors=errors)
