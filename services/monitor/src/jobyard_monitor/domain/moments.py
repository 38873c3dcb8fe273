"""Which times can be true, and which can at least be asked for."""

from __future__ import annotations

from datetime import UTC, datetime

_RECORDED = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
_ASKED = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC))


def recordable(moment: datetime) -> bool:
    """Whether a clock of ours can have shown it; `moment` has a zone."""
    return _RECORDED[0] <= moment < _RECORDED[1]


def askable(moment: datetime) -> bool:
    """Whether it may stand in a query: it has a zone, and PostgreSQL and Python agree on it."""
    return moment.tzinfo is not None and _ASKED[0] <= moment < _ASKED[1]
