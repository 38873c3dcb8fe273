"""From what a tool raised to how its attempt ended."""

from __future__ import annotations

import asyncio
import errno
import traceback

from jobyard.author.errors import ResultTooLarge, SoftLimitReached, ToolError

from jobyard_executor.sandbox.cgroups import Events
from jobyard_executor.sandbox.jail import Limits
from jobyard_executor.worker.messages import Fault
from jobyard_executor.worker.text import bounded

DETAIL_BYTES = 8 * 1024
MESSAGE_BYTES = 2 * 1024

SUCCEEDED = "succeeded"
ERROR = "error"
TIMEOUT = "timeout"
CANCELLED = "cancelled"
OOM = "oom"
RESOURCE_EXHAUSTED = "resource_exhausted"
INTERRUPTED = "interrupted"
WORKER_LOST = "worker_lost"

STOP_CANCEL = "cancel"
STOP_REVOKED = "revoked"
STOP_INTERRUPT = "interrupt"

CANCEL_GRACE_S = 5.0
EXHAUSTED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE})
"""What the kernel says when there is no more disk, or no more descriptors, or a file may not grow any more."""


def judged(error: BaseException, *, soft_timeout_s: float | None, stop: str | None) -> tuple[str, Fault]:
    """Verdict and fault for an exception that a tool let pass; `stop` is why the attempt was asked to end, if so."""
    if isinstance(error, SoftLimitReached):
        return TIMEOUT, timed_out(soft_timeout_s, soft=True)
    if stop is not None:
        return stopped(stop)
    if isinstance(error, ResultTooLarge):
        return RESOURCE_EXHAUSTED, _fault(error, code=error.code, message=error.message, retryable=False)
    if isinstance(error, ToolError):
        fault = _fault(error, code=str(error.code), message=str(error.message), retryable=bool(error.retryable))
        fault.retry_after_s = pause_asked(getattr(error, "after_s", None))
        return ERROR, fault
    if isinstance(error, MemoryError):
        message = "the tool needed more memory than it may have"
        return OOM, _fault(error, code="out_of_memory", message=message, retryable=True)
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        return RESOURCE_EXHAUSTED, _fault(error, code="resource_exhausted", message=_message(error), retryable=True)
    if isinstance(error, asyncio.CancelledError):
        message = "the tool cancelled itself"
        return ERROR, _fault(error, code="tool_error", message=message, retryable=True)
    return ERROR, _fault(error, code="tool_error", message=_message(error), retryable=True)


def stopped(stop: str) -> tuple[str, Fault]:
    """Verdict and fault of an attempt that did not succeed after it was asked to end."""
    if stop == STOP_CANCEL:
        return CANCELLED, Fault("cancelled", "the job was cancelled", retryable=False)
    if stop == STOP_REVOKED:
        return INTERRUPTED, Fault("interrupted", "the lease of this attempt is no longer held")
    return INTERRUPTED, Fault("interrupted", "the executor is stopping; the job will run again")


def timed_out(seconds: float | None, *, soft: bool = False) -> Fault:
    kind = "soft time limit" if soft else "time limit"
    after = f" of {seconds:g} s" if seconds is not None else ""
    return Fault("timeout", f"the {kind}{after} has passed")


def crowded(count: int, *, most: int) -> Fault | None:
    """What is wrong with a tool that has so many processes, if anything is."""
    if count <= most:
        return None
    message = f"the tool had {count} processes at once and may have {most}"
    return Fault("resource_exhausted", message, retryable=False)


def refused_by_group(events: Events, limits: Limits) -> tuple[str, Fault] | None:
    """Verdict and fault when the kernel refused memory or processes to the control group of a tool that failed."""
    if events.oom:
        message = f"the tool and its children together needed more than {limits.memory_bytes:,} bytes of memory"
        return OOM, Fault("out_of_memory", message)
    if events.forks_refused:
        message = f"the tool may have {limits.processes} processes and wanted far more"
        return RESOURCE_EXHAUSTED, Fault("resource_exhausted", message, retryable=False)
    return None


def pause_asked(value: object) -> float | None:
    """The pause before the next attempt that a tool asked for; what is no number of seconds is ignored."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        return None
    return float(value)


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as fault:
        text = f"(its message cannot be read: {type(fault).__name__})"
    return text or type(error).__name__


def _fault(error: BaseException, *, code: str, message: str, retryable: bool) -> Fault:
    return Fault(
        code=bounded(code, limit=128),
        message=bounded(message, limit=MESSAGE_BYTES),
        type=bounded(type(error).__name__, limit=256),
        detail=_detail(error),
        retryable=retryable,
    )


def _detail(error: BaseException) -> str:
    """The traceback, its last 8 KiB: the end says most."""
    try:
        text = "".join(traceback.format_exception(error, limit=-50))
    except Exception as fault:
        text = f"(the traceback cannot be written: {type(fault).__name__})"
    data = bounded(text, limit=64 * DETAIL_BYTES).encode()
    return data[-DETAIL_BYTES:].decode("utf-8", "ignore")
