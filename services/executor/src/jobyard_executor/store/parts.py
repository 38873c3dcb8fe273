"""The statements that a `Write` is composed of, by part: which table, which columns, which of them are steady."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jobyard_common.messaging import outbox
from jobyard_common.messaging.publisher import OutRecord

from jobyard_executor.store.jobs import type_of
from jobyard_executor.store.part import Part, array, places
from jobyard_executor.store.part import joined as joined_texts

CHANGING = (
    "state", "reason", "dead", "event_no", "attempt", "failures", "lost", "interrupted", "fence", "session", "worker",
    "run_at", "queued_at", "started_at", "finished_at", "output_seq", "pending", "timers", "run_trace", "error",
    "progress", "twin_id",
)  # fmt: skip
STARTING = ("state", "reason", "event_no", "attempt", "fence", "session", "worker", "started_at", "finished_at",
            "run_trace", "error")  # fmt: skip
ENDING = ("state", "reason", "dead", "event_no", "failures", "lost", "interrupted", "session", "finished_at",
          "output_seq", "error", "progress")  # fmt: skip


def _insert(
    table: str, columns: str, *, steady: str = "", tail: str = "", wraps: tuple[tuple[str, str], ...] = ()
) -> Part:
    """`columns` as `name type` with commas between, `steady` as names."""
    found = tuple((name, kind) for name, _, kind in (column.strip().partition(" ") for column in columns.split(",")))
    return Part(f"INSERT INTO {table}", found, places(found, steady.split()), tail, wraps=wraps)


def _update(columns: Sequence[str], *, steady: str) -> Part:
    found = tuple((name, type_of(name)) for name in ("job_id", *columns))
    return Part("UPDATE job j", found, places(found, steady.split()), update=True)


_ONCE = " ON CONFLICT DO NOTHING"
_LISTED = (
    "job_id text, tenant text, created_at timestamptz, tool text, queue text, correlation_id text, parent_id text, "
    "origin_id text, made_by text"
)
ROWS: Mapping[str, Part] = {
    "changed": _update(CHANGING, steady="reason dead lost interrupted session worker run_at pending timers twin_id"),
    "started": _update(STARTING, steady="state reason event_no attempt session worker started_at finished_at error"),
    "ended": _update(
        ENDING,
        steady="state reason dead event_no failures lost interrupted session finished_at output_seq error progress",
    ),
    "listed": _insert("job_list", _LISTED, steady="tenant tool queue parent_id origin_id made_by"),
    "labelled": _insert(
        "job_list",
        f"{_LISTED}, labels text",
        steady="tenant tool queue parent_id origin_id made_by labels",
        wraps=(("labels", "ARRAY(SELECT json_array_elements_text({}::json))"),),
    ),
    "ready": _insert(
        "ready",
        "job_id text, lane text, sort_at timestamptz, tenant text, expires_at timestamptz",
        steady="lane tenant expires_at",
    ),
    "leased": _insert(
        "lease",
        "job_id text, fence bigint, session text, claim_id text, tenant text, queue text, tool text, "
        "concurrency text, attempt integer, started_at timestamptz",
        steady="session claim_id tenant queue tool concurrency attempt started_at",
    ),
    "timed": _insert(
        "timer",
        "job_id text, kind text, fire_at timestamptz",
        tail=" ON CONFLICT (job_id, kind) DO UPDATE SET fire_at = excluded.fire_at",
    ),
    "blocked": _insert("blocked", "job_id text, tenant text, since timestamptz"),
    "edges": _insert("edge", "parent_id text, child_id text, done boolean", tail=_ONCE),
    "attempts": _insert(
        "attempt",
        "job_id text, attempt integer, fence bigint, worker text, verdict text, started_at timestamptz, "
        "finished_at timestamptz, run_ms bigint, return_code integer, error text",
        steady="attempt worker verdict finished_at return_code error",
        tail=_ONCE,
    ),
    "results": _insert(
        "result",
        "job_id text, attempt integer, value text, return_code integer, stdout text, stderr text, truncated boolean, "
        "files text, run_ms bigint",
        steady="attempt return_code stdout stderr truncated files",
    ),
    "done": _insert(
        "job_done",
        "job_id text, tenant text, state text, created_at timestamptz, finished_at timestamptz",
        steady="tenant state finished_at",
    ),
    "lifecycle": _insert(
        "lifecycle",
        "job_id text, event_no integer, at timestamptz, type text, state text, reason text, attempt integer, "
        "actor text, data text, output_seq bigint, incarnation bigint",
        steady="event_no at type state reason attempt actor data output_seq",
    ),
    "keyed": _insert("keyed_id", "job_id text, tenant text, body_hash text, expires_at timestamptz", tail=_ONCE),
    "seen": _insert(
        "command_seen", "command_id text, tenant text, outcome text, job_id text, at timestamptz", tail=_ONCE
    ),
    "lettered": _insert(
        "dead_letter",
        "job_id text, tenant text, action text, new_job_id text, note text, actor text, at timestamptz",
        tail=" ON CONFLICT (job_id) DO UPDATE SET action = excluded.action, new_job_id = excluded.new_job_id, "
        "note = excluded.note, actor = excluded.actor, at = excluded.at",
    ),
    "tombstones": _insert("tombstone", "job_id text, tenant text, actor text, at timestamptz", tail=_ONCE),
}
"""Parts that take one row a change."""

FIXED: Mapping[str, str] = {
    "unready": "DELETE FROM ready WHERE job_id = ANY({ids})",
    "unleased": "DELETE FROM lease WHERE job_id = ANY({ids})",
    "untimed": "DELETE FROM timer WHERE job_id = ANY({ids})",
    "unstarted": "DELETE FROM timer WHERE job_id = ANY({ids}) AND kind = 'start'",
    "unblocked": "DELETE FROM blocked WHERE job_id = ANY({ids})",
    "undeduped": "DELETE FROM dedupe WHERE job_id = ANY({ids}) AND until IS NULL",
    "outbox": re.sub(r"\$(\d+)", lambda found: f"${{{int(found[1]) - 1}}}", outbox.PUT) + " RETURNING id",
}
"""Parts whose statement has one shape, but for `{ids}`."""

_ALIKE = """
INSERT INTO outbox (bucket, topic, key, value, headers)
SELECT n.bucket, ${1}::text, convert_to(n.key, 'UTF8'), n.value, n.headers
FROM unnest(${0}::smallint[], {keys}, ${3}::bytea[], ${4}::bytea[]) AS n (bucket, key, value, headers) RETURNING id
"""
"""The outbox where all records are of one topic and their keys are texts."""


def outbox_columns(records: Sequence[OutRecord]) -> tuple[list[Any], bool]:
    """One parameter a column, and whether topics and keys travel as one text each."""
    columns: list[Any] = list(outbox.columns(records))
    topics, keys = columns[1], joined_texts([record.key for record in records])
    if keys is None or topics.count(topics[0]) != len(topics):
        return columns, False
    columns[1], columns[2] = topics[0], keys
    return columns, True


ORDER = (
    "changed", "started", "ended", "listed", "labelled", "ready", "unready", "leased", "unleased", "timed", "untimed",
    "unstarted", "blocked", "unblocked", "edges", "attempts", "results", "done", "lifecycle", "keyed", "seen",
    "tombstones", "undeduped", "lettered", "outbox",
)  # fmt: skip
Shape = tuple[tuple[str, int, bool, bool], ...]
_composed: dict[Shape, str] = {}


def compose(shape: Shape) -> str:
    """One statement of the parts in `shape`, each with its number of parameters, whether steady ones are shared, and
    whether texts are joined.

    It answers the ids of the outbox rows, if there are any.
    """
    text = _composed.get(shape)
    if text is None:
        parts, first = [], 1
        for name, count, shared, joined in shape:
            part = ROWS.get(name)
            sql = part.sql(first, shared, joined) if part else _fixed(name, range(first, first + count), joined=joined)
            parts.append(f"w_{name} AS ({sql})")
            first += count
        last = "SELECT array_agg(id) FROM w_outbox" if shape[-1][0] == "outbox" else "SELECT NULL"
        text = _composed[shape] = f"WITH {', '.join(parts)} {last}"
    return text


def _fixed(name: str, numbers: range, *, joined: bool) -> str:
    if name == "outbox" and joined:
        return _ALIKE.format(*numbers, keys=array(numbers[2], "text", joined=True))
    return FIXED[name].format(*numbers, ids=array(numbers[0], "text", joined=joined))
