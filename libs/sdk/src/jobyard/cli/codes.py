"""Exit codes, and which error leads to which."""

from __future__ import annotations

from enum import IntEnum

from jobyard.errors import (
    ConfigurationError,
    InvalidArgument,
    Refused,
    Unreachable,
    WaitTimeout,
)

GATEWAY_AWAY = frozenset({502, 503, 504})


class ExitCode(IntEnum):
    DONE = 0
    JOB_FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    CANCELLED = 5
    INTERNAL = 70
    INTERRUPTED = 130


class UsageError(InvalidArgument):
    """Wrong usage; the message says what to write instead."""


def of_state(state: object) -> ExitCode:
    """The exit code of a command that waited for a job's end."""
    match state:
        case "succeeded":
            return ExitCode.DONE
        case "cancelled" | "expired":
            return ExitCode.CANCELLED
        case _:
            return ExitCode.JOB_FAILED


def of_error(error: BaseException) -> ExitCode:
    match error:
        case Refused():
            return ExitCode.UNREACHABLE if error.status in GATEWAY_AWAY else ExitCode.REFUSED
        case Unreachable() | WaitTimeout():
            return ExitCode.UNREACHABLE
        case ConfigurationError() | InvalidArgument() | OSError() | UnicodeError():
            return ExitCode.USAGE
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case _:
            return ExitCode.INTERNAL
