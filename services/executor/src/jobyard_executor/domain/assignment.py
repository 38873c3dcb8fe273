"""What the engine hands to its workers, and what comes back: the port between claiming jobs and running tools.

One `Assignment` is one attempt of one job under one fence. A runner answers each with exactly one `Outcome`,
whatever becomes of the tool; on its way it reports `Output`s, numbered without a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from jobyard_executor.domain.child import ChildJob

SEQ_PER_ATTEMPT = 10**9


class Verdict(StrEnum):
    """How an attempt ended, as the worker saw it."""

    SUCCEEDED = "succeeded"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    OOM = "oom"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    INTERRUPTED = "interrupted"
    WORKER_LOST = "worker_lost"


class InputFile(msgspec.Struct, frozen=True):
    """A file to put at `in/<slot>` before the tool starts."""

    slot: str
    file_id: str


class Assignment(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt to run. `tool` and `version` name an entry of this executor's registry."""

    job_id: str
    tenant: str
    attempt: int
    fence: int
    tool: str
    version: str
    parameters: msgspec.Raw
    timeout_s: float
    soft_timeout_s: float | None = None
    deadline_at: datetime | None = None
    files: tuple[InputFile, ...] = ()
    correlation_id: str = ""
    traceparent: str = ""
    """Context of the attempt's `run` span; file transfers and tools continue it."""


class OutputFile(msgspec.Struct, frozen=True):
    """A stored output file, held until the finish commits it."""

    file_id: str
    name: str
    size: int
    sha256: str
    content_type: str


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an attempt did not succeed; `code` is what retry rules match, `retry_after_s` the pause it asked for."""

    code: str
    message: str
    type: str | None = None
    detail: str | None = None
    retryable: bool = True
    retry_after_s: float | None = None


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """The end of one assignment.

    `value` is JSON text, byte-true. `stdout` and `stderr` hold the first 1 MiB each. `last_seq` is the number of the
    last output reported, 0 when there was none.
    """

    job_id: str
    attempt: int
    fence: int
    verdict: Verdict
    started_at: datetime
    finished_at: datetime
    run_ms: int
    value: msgspec.Raw = msgspec.Raw(b"null")
    failure: Failure | None = None
    return_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False
    files: tuple[OutputFile, ...] = ()
    last_seq: int = 0
    children: tuple[ChildJob, ...] = ()


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line or one progress report of a running attempt.

    `seq` = attempt * SEQ_PER_ATTEMPT + n, n gapless from 1. `stream` is `stdout`, `stderr`, `log` or `progress`.
    `fields` is JSON text of an object; for `progress` it holds `{"done", "total", "note"}`.
    """

    seq: int
    at: datetime
    stream: str
    message: str = ""
    level: str | None = None
    fields: msgspec.Raw | None = None
    late: bool = False


class OutputBatch(msgspec.Struct, frozen=True):
    job_id: str
    tenant: str
    attempt: int
    fence: int
    lines: tuple[Output, ...]


class StopReason(StrEnum):
    """Why a running attempt must end: asked by its user, or because its lease is no longer ours."""

    CANCEL = "cancel"
    REVOKED = "revoked"
    INTERRUPT = "interrupt"


class FilesPort(Protocol):
    """Input files in, output files out, through the files service. Raises OSError or `FileUnavailable`."""

    async def fetch(self, file_id: str, path: str, *, tenant: str, traceparent: str) -> None: ...

    async def store(
        self, path: str, *, name: str, tenant: str, job_id: str, attempt: int, fence: int, traceparent: str
    ) -> OutputFile: ...


OnOutcome = Callable[[Outcome], None]
OnOutput = Callable[[Sequence[OutputBatch]], None]


class Runner(Protocol):
    """Runs assignments in worker processes; every callback comes on the event loop of the control process."""

    async def start(self, *, on_outcome: OnOutcome, on_output: OnOutput) -> None: ...

    def free(self) -> Mapping[str, int]:
        """Free slots by isolation (`async`, `process`, `command`)."""
        ...

    def levels(self) -> frozenset[str]:
        """Sandbox levels that the start-up self-test proved, e.g. {"L0", "L1", "L2"}; with "own_user" where it proved
        a user of its own for each command tool."""
        ...

    def dispatch(self, assignments: Sequence[Assignment]) -> None:
        """Begin to run; never blocks and never raises for a bad assignment (its outcome says what is wrong)."""
        ...

    def stop_job(self, job_id: str, fence: int, *, reason: StopReason) -> None: ...

    def running(self) -> frozenset[tuple[str, int]]:
        """(job, fence) of every assignment dispatched whose outcome was not delivered yet."""
        ...

    async def drain(self, *, grace_s: float) -> None:
        """Wait for running tools up to `grace_s`, then end them as `interrupted`."""
        ...

    async def stop(self) -> None: ...
