"""Submit one job: check everything, promise it durably, show it.

read → check its tool → look up what it names → (a key: whose is it?) → keep the promise → remember it
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec
from jobyard_common.contracts.envelope import encode as headers_of
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.ids import keyed_id, new_id
from jobyard_common.contracts.jobs import PARAMETERS_SLOT, SUBMIT, Actor, SubmitJob
from jobyard_common.contracts.topics import JOBS_COMMANDS
from jobyard_common.contracts.wire import encode, milliseconds
from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import FieldError, Problem
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
from jobyard_gateway.outbound.barrier import Barrier
from jobyard_gateway.outbound.commands import Commands, Kept, NotKept
from jobyard_gateway.outbound.ledger import Ledger, Promise
from jobyard_gateway.outbound.queue_book import QueueBook
from jobyard_gateway.outbound.references import References

SOURCE = "/jobyard/gateway"
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
    record: OutRecord
    promise: Promise
    command: SubmitJob


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

    def read(self, body: bytes) -> Checked:
        """Check all that needs nobody else.

        Raises:
            Problem: malformed_json, unknown_tool, or validation_failed with every fault.
        """
        try:
            tree = parse(body)
        except MalformedJson as error:
            raise Problem("malformed_json", str(error)) from None
        submission, faults = submissions.read(body, tree, now=self._clock.now())
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
        submission = checked.submission
        queue = submission.queue
        if queue is not None and (queue == "default" or queue in self._registry.queues() or self._knows(queue)):
            queue = None
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
            job_id, hashed = new_id("job", cell=self._cell), ""
        else:
            job_id, hashed = self.keyed_job_id(origin.tenant, key), body_hash(checked.tree)
        now = milliseconds(self._clock.now())
        command = SubmitJob(
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
            keyed=key is not None,
            body_hash=hashed,
        )
        return self.draft_of(command, origin)

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
        value = encode(command)
        envelope = new_envelope(
            SUBMIT,
            source=SOURCE,
            subject=command.job_id,
            correlation_id=origin.correlation_id,
            traceparent=origin.trace.format(),
            time=command.accepted_at,
            id=f"evt_{command.job_id[4:]}",
        )
        record = OutRecord(JOBS_COMMANDS.name, command.job_id, value, headers_of(envelope))
        return Draft(command.job_id, record, Promise(value, origin.correlation_id, origin.trace.trace_id), command)

    def admit(self, draft: Draft) -> None:
        """Raises Problem: queue_full or queue_draining."""
        self.admit_queue(draft)
        if self._admission is not None:
            self._admission.admit(draft.command.tenant, draft.command.spec.queue)

    def admit_queue(self, draft: Draft) -> None:
        """A job that we promised already is no new one.

        Raises:
            Problem: queue_draining.
        """
        queue = draft.command.spec.queue
        if self._book is None or not self._book.is_draining(queue):
            return
        if not self._ledger.knows(draft.job_id, tenant=draft.command.tenant):
            raise Problem("queue_draining", f"The queue {queue} takes no new jobs; those that wait in it still run.")

    def queue_of(self, checked: Checked) -> str:
        """Where the job goes: what it says, else the route of its tool, else the tool's own queue."""
        named, definition = checked.submission.queue, checked.tool.definition
        if named is not None or self._book is None:
            return named or definition.queue
        return self._book.queue_of(definition.name, default=definition.queue)

    def _knows(self, queue: str) -> bool:
        return self._book is not None and self._book.knows(queue)

    def keyed_job_id(self, tenant: str, key: str) -> str:
        return keyed_id("job", self._id_secret, tenant=tenant, operation="submit", key=key, cell=self._cell)

    async def keep(self, draft: Draft) -> None:
        """Make it durable and remember it.

        Raises:
            Problem: unavailable, with the id of the job that may exist nevertheless.
        """
        try:
            kept = await self._commands.keep(draft.record)
        except NotKept:
            raise Problem(
                "unavailable",
                "The job could not be stored safely. It may exist nevertheless: repeat with the same idempotency key.",
                extra={"job_id": draft.job_id},
            ) from None
        self.remember(draft, kept)

    async def keep_many(self, drafts: Sequence[Draft]) -> list[bool]:
        """The same for many; which of them are durable, in order."""
        answers = await self._commands.keep_many([draft.record for draft in drafts])
        for draft, answer in zip(drafts, answers, strict=True):
            if not isinstance(answer, NotKept):
                self.remember(draft, answer)
        return [not isinstance(answer, NotKept) for answer in answers]

    def remember(self, draft: Draft, kept: Sent | Kept | None) -> None:
        """What follows a promise that is kept: reads may show it."""
        tenant = draft.command.tenant
        self._ledger.record(draft.job_id, draft.promise, tenant=tenant)
        if isinstance(kept, Sent):
            self._barrier.wrote(tenant, kept)
        _submitted(draft.command.actor.kind).inc()

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


def away(error: ServiceAway) -> Problem:
    """For a submit whose references nobody can look up now."""
    service = "files service" if "files" in str(error) else "executor"
    return Problem("unavailable", f"What this job names can't be looked up: the {service} is away.")
