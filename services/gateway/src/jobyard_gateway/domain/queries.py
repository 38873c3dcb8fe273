"""Query parameters of lists, checked at the door. The pointer of a fault is the parameter's name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from jobyard_common.contracts.ids import is_id
from jobyard_common.contracts.jobs import JobState
from jobyard_common.contracts.wire import parse_rfc3339

from jobyard_gateway.domain.faults import Fault

Pairs = list[tuple[str, str]]
MAX_LIMIT = 200
_CURSOR = re.compile(r"[A-Za-z0-9_=-]{5,1024}")
_INTEGER = re.compile(r"[0-9]{1,9}")
_REPEATABLE = frozenset({"state", "tool", "queue", "tag"})
_ONCE = frozenset({"correlation_id", "created_after", "created_before", "parent_id", "schedule_id", "workflow_id"})
_FILTERS = _REPEATABLE | _ONCE


def job_list_faults(pairs: Pairs) -> list[Fault]:
    return _faults(pairs, _FILTERS | {"limit", "cursor", "count"})


def job_count_faults(pairs: Pairs) -> list[Fault]:
    return _faults(pairs, _FILTERS)


def event_list_faults(pairs: Pairs) -> list[Fault]:
    """Filters of the job list; where to go on is checked against the topic."""
    return _faults(pairs, _FILTERS | {"limit"}, unchecked=frozenset({"cursor"}))


def page_faults(pairs: Pairs, *, others: Iterable[str] = ()) -> list[Fault]:
    """For lists with `limit`, `cursor` and some parameters that their owner checks."""
    return _faults(pairs, frozenset({"limit"}), unchecked=frozenset({"cursor", *others}))


def _faults(pairs: Pairs, allowed: frozenset[str], *, unchecked: frozenset[str] = frozenset()) -> list[Fault]:
    faults: list[Fault] = []
    seen: set[str] = set()
    if len(pairs) > 100:
        return [Fault("", "More than 100 parameters.")]
    for name, value in pairs:
        if name in seen and name not in _REPEATABLE and not name.startswith("metadata."):
            faults.append(Fault(name[:128], "This parameter comes twice."))
        seen.add(name)
        if name in unchecked:
            message = None if len(value) <= 1024 and "\0" not in value else "Not a possible value."
        elif name in allowed or (name.startswith("metadata.") and "state" in allowed):
            message = _message(name, value)
        else:
            message = "Unknown parameter."
        if message:
            faults.append(Fault(name[:128], message))
    return faults


def _message(name: str, value: str) -> str | None:
    if "\0" in value or len(value) > 1024:
        return "Not a possible value."
    match name:
        case "limit":
            good = _INTEGER.fullmatch(value) and 1 <= int(value) <= MAX_LIMIT
            return None if good else f"An integer from 1 to {MAX_LIMIT}."
        case "cursor":
            return None if _CURSOR.fullmatch(value) else "Not a cursor of this list."
        case "count":
            return None if value in ("exact", "estimate") else "exact or estimate."
        case "state":
            return None if value in {state.value for state in JobState} else "No such state."
        case "created_after" | "created_before":
            return None if _is_time(value) else "An RFC 3339 time with a zone."
        case "parent_id":
            return None if is_id("job", value) else "Not a job id."
        case "schedule_id":
            return None if is_id("sch", value) else "Not the id of a schedule."
        case "workflow_id":
            return None if is_id("wfr", value) else "Not the id of a run."
    return None


def integer(value: str, *, most: int) -> int | None:
    """None if `value` is no integer from 0 to `most`."""
    found = int(value) if _INTEGER.fullmatch(value) else None
    return found if found is not None and found <= most else None


def _is_time(value: str) -> bool:
    try:
        parse_rfc3339(value)
    except ValueError:
        return False
    return True
