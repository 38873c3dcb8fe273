"""What a database error means for whoever was writing (classes of SQLSTATE, PostgreSQL manual, appendix A)."""

from __future__ import annotations

import asyncpg

_POISON = ("22", "23", "54")
# Class 42 is a schema older than the code, a missing right or a fault of ours: no record is to blame for it, and
# dead-lettering on it would empty a topic (docs/adr/0006).
_RETRY = ("08", "25", "40", "42", "53", "55", "57", "58")


def is_poison(error: BaseException) -> bool:
    """The data themselves cannot be stored: repeating changes nothing, leaving out one row does."""
    return isinstance(error, asyncpg.PostgresError) and str(error.sqlstate or "")[:2] in _POISON


def is_retryable(error: BaseException) -> bool:
    """The server is away, busy or lost a race: the same transaction may succeed later."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate or "")[:2] in _RETRY
    # A statement that meets a connection in the moment of its death is told apart as an internal error of the client.
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError)
