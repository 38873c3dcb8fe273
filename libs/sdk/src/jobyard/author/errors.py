"""What can go wrong in a tool, and what a tool may hear while it runs.

    Exception
    ├── ToolError                 the job's error: code, message, retryable
    │   ├── RetryLater            try again after this many seconds (retryable)
    │   ├── BadParameters         the parameters do not fit the tool's model (not retryable)
    │   ├── ResultTooLarge        the value is above 256 KiB as JSON (not retryable)
    │   ├── ResultInvalid         the value is no JSON (not retryable)
    │   └── NotSupported          this worker cannot do what the tool asked for (not retryable)
    └── ToolDefinitionError       a tool is declared wrongly; raised when its module is imported
    asyncio.CancelledError
    └── Stop                      the attempt should end now
        ├── SoftLimitReached
        └── Cancelled

`Stop` is not an `Exception`: `except Exception` in a tool, or in a library that it uses, cannot swallow it by
accident, and asyncio's own constructs (task groups, timeouts) treat it as the cancellation that it is. A tool that
wants to clean up or to return what it has catches `Stop`; a tool that lets it pass ends as `timeout` or `cancelled`.
"""

from __future__ import annotations

import asyncio


class ToolDefinitionError(Exception):
    """A tool is declared in a way that cannot work; the message says which tool and what to change."""


class ToolError(Exception):
    """Fail the attempt with a message for its user.

    `code` is short and stable (`[a-z0-9_]`); retry rules match it. `retryable` says whether the same job may succeed
    when it is tried again.
    """

    def __init__(self, message: str, *, code: str = "tool_error", retryable: bool = True) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retryable = retryable


class RetryLater(ToolError):
    """Try the job again after `after_s` seconds: what another system asked for with `Retry-After`.

    The pause takes the place of the computed one, at most a day. The attempt counts against `max_attempts`, the pause
    against the retry budget. Raises ValueError for a pause that is no number of seconds.
    """

    def __init__(
        self, after_s: float, message: str = "the tool asked to be tried again later", *, code: str = "retry_later"
    ) -> None:
        if isinstance(after_s, bool) or not 0 <= after_s < 1e9:
            raise ValueError(f"after_s must be a number of seconds from 0 up, not {after_s!r}")
        super().__init__(message, code=code, retryable=True)
        self.after_s = float(after_s)


class BadParameters(ToolError):
    """The job's parameters do not fit the tool's model."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="validation_failed", retryable=False)


class ResultTooLarge(ToolError):
    """The value is too large to be kept with the job; output files are the way."""

    def __init__(self, size: int, *, limit: int) -> None:
        super().__init__(
            f"The result is {size:,} bytes as JSON and may have {limit:,}. Write it to an output file instead: "
            "ctx.save_file(name) in Python, a file in out/ in a script.",
            code="resource_exhausted",
            retryable=False,
        )


class ResultInvalid(ToolError):
    """The value cannot be written as JSON."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="result_invalid", retryable=False)


class NotSupported(ToolError):
    """This worker cannot do what the tool asked for."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="not_supported", retryable=False)


SOFT_LIMIT = "soft_limit"
CANCEL = "cancel"


class Stop(asyncio.CancelledError):
    """The attempt should end now: raised inside the tool, once for each reason."""

    reason: str | None = None

    def __init__(self, message: str = "the job was asked to stop") -> None:
        super().__init__(message)


class SoftLimitReached(Stop):
    """The soft time limit has passed; the hard one ends the attempt without asking."""

    reason = SOFT_LIMIT

    def __init__(self, message: str = "the soft time limit has passed") -> None:
        super().__init__(message)


class Cancelled(Stop):
    """The job was cancelled. The attempt has 5 seconds to clean up; what it returns is not kept."""

    reason = CANCEL

    def __init__(self, message: str = "the job was cancelled") -> None:
        super().__init__(message)


def stop_for(reason: str | None) -> Stop | None:
    """What a tool hears for a stop reason. None: it hears nothing, the runtime ends it (hard limit, lost lease)."""
    if reason == SOFT_LIMIT:
        return SoftLimitReached()
    if reason == CANCEL:
        return Cancelled()
    return None
