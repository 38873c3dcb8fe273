"""Answers of the read API in the shapes of the public one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from jobyard_common.contracts.jobs import JobState
from jobyard_common.contracts.wire import parse_rfc3339
from jobyard_common.http.problems import FieldError, Problem
from starlette.datastructures import QueryParams
from starlette.responses import Response

from jobyard_executor.domain.snapshot import moment, snapshot, twin_name
from jobyard_executor.store.listing import Filters
from jobyard_executor.store.reading import Shown

MAX_LIMIT = 200
NULL = msgspec.Raw(b"null")
_encode = msgspec.json.Encoder().encode


def answer(body: object, *, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    return Response(_encode(body), status_code=status, media_type="application/json", headers=dict(headers or {}))


def raw(text: str | None) -> msgspec.Raw:
    return msgspec.Raw(text.encode()) if text is not None else NULL


def job_body(shown: Shown) -> msgspec.Raw:
    return msgspec.Raw(snapshot(shown.job, progress=shown.live))


def result_body(shown: Shown, row: Any) -> dict[str, object]:
    """The result of a finished job; one that never ran has an empty one."""
    job = shown.job
    head: dict[str, object] = {"job_id": job.job_id, "attempt": job.attempt, "state": job.state.value}
    return head | {
        "value": raw(row["value"]) if row else None,
        "return_code": row["return_code"] if row else None,
        "stdout": row["stdout"] if row else "",
        "stderr": row["stderr"] if row else "",
        "truncated": row["truncated"] if row else False,
        "files": raw(row["files"]) if row else [],
        "error": raw(job.error),
        "run_ms": row["run_ms"] if row else None,
        **({twin_name(job): job.twin_id} if job.twin_id is not None else {}),
    }


def lifecycle_row(row: Any) -> dict[str, object]:
    return {
        "seq": row["event_no"],
        "at": moment(row["at"]),
        "type": row["type"],
        "state": row["state"],
        "reason": row["reason"],
        "attempt": row["attempt"],
        "actor": raw(row["actor"]),
        "data": raw(row["data"]),
        "output_seq": row["output_seq"],
        "incarnation": row["incarnation"] or 0,
    }


def attempt_rows(shown: Shown, rows: Sequence[Any]) -> list[dict[str, object]]:
    """Ended attempts, and the one that runs."""
    found: list[dict[str, object]] = [
        {
            "attempt": row["attempt"],
            "fence": row["fence"],
            "worker": row["worker"],
            "state": row["verdict"],
            "started_at": moment(row["started_at"]),
            "finished_at": moment(row["finished_at"]),
            "run_ms": row["run_ms"],
            "return_code": row["return_code"],
            "error": raw(row["error"]),
        }
        for row in rows
    ]
    job = shown.job
    if job.state in (JobState.RUNNING, JobState.CANCELLING) and job.started_at is not None:
        found.append(
            {
                "attempt": job.attempt,
                "fence": job.fence,
                "worker": job.worker,
                "state": job.state.value,
                "started_at": moment(job.started_at),
                "finished_at": None,
                "run_ms": None,
                "return_code": None,
                "error": None,
            }
        )
    return found


def filters_of(query: QueryParams) -> Filters:
    """Raises Problem that lists every wrong parameter."""
    errors: list[FieldError] = []
    labels = [f"t:{tag}" for tag in query.getlist("tag")]
    labels += [f"m:{name[9:]}={value}" for name, value in query.multi_items() if name.startswith("metadata.")]
    labels += [f"w:{run_id}" for run_id in query.getlist("workflow_id")]
    labels += [f"s:{schedule_id}" for schedule_id in query.getlist("schedule_id")]
    states = query.getlist("state")
    known = {state.value for state in JobState}
    errors += [FieldError("state", f"{state[:64]!r} is no state of a job") for state in states if state not in known]
    found = Filters(
        states=states,
        tools=query.getlist("tool"),
        queues=query.getlist("queue"),
        labels=labels,
        correlation_ids=query.getlist("correlation_id"),
        parent_ids=query.getlist("parent_id"),
        created_after=_time(query, "created_after", errors),
        created_before=_time(query, "created_before", errors),
    )
    if any("\0" in value for _, value in query.multi_items()):
        errors.append(FieldError("", "a parameter holds a NUL"))
    if errors:
        raise Problem("validation_failed", errors=errors)
    return found


def filters_of_pairs(pairs: list[tuple[str, str]]) -> Filters:
    """The same from a filter that was written down. Raises Problem."""
    return filters_of(QueryParams(pairs))


def _time(query: QueryParams, name: str, errors: list[FieldError]) -> datetime | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError:
        errors.append(FieldError(name, "must be an RFC 3339 time with a zone"))
        return None


def limit_of(query: QueryParams, *, default: int = 50) -> int:
    text = query.get("limit")
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MAX_LIMIT or len(text) > 9:
        raise Problem("validation_failed", errors=[FieldError("limit", f"must be a number from 1 to {MAX_LIMIT}")])
    return int(text)


def cursor_text(position: tuple[datetime, str] | None) -> str | None:
    if position is None:
        return None
    micros = int(position[0].timestamp() * 1_000_000 + 0.5)
    return base64.urlsafe_b64encode(f"{micros}:{position[1]}".encode()).decode().rstrip("=")


def cursor_of(query: QueryParams) -> tuple[datetime, str] | None:
    text = query.get("cursor")
    if not text:
        return None
    try:
        micros, _, last = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(":")
        number = int(micros)
        return datetime.fromtimestamp(number // 1_000_000, UTC).replace(microsecond=number % 1_000_000), last
    except (ValueError, binascii.Error, OverflowError, OSError):
        raise Problem("validation_failed", errors=[FieldError("cursor", "is not a cursor of this list")]) from None
