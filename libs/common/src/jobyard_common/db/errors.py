"""What a database error means for whoever was writing (classes of SQLSTATE, PostgreSQL manual, appendix A)."""

from __future__ import annotations

import asyncpg

_POISON = ("22", "23", "42", "54")
_RETRY = ("08", "25", "40", "53", "55", "57", "58")
# A schema that is older than the code, or a right not granted yet: an operator's repair, not the data's fault.
_REPAIRABLE = ("42P01", "42703", "42883", "42501", "42704")


def is_poison(error: BaseException) -> bool:
    """The data themselves cannot be stored: repeating changes nothing, leaving out one row does."""
    if not isinstance(error, asyncpg.PostgresError):
        return False
    state = str(error.sqlstate or "")
    return state[:2] in _POISON and state not in _REPAIRABLE


def is_retryable(error: BaseException) -> bool:
    """The server is away, busy or lost a race: the same transaction may succeed later."""
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate or "")
        return state[:2] in _RETRY or state in _REPAIRABLE
    # A statement that meets a connection in the moment of its death is told apart as an internal error of the client.
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError)
