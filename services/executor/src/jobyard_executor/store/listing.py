"""Which jobs a list shows, and along which index it looks for them.

A history of ten million jobs must not make a list slower. So a list is a walk: newest first along the index of one
filter (the source), the other filters tested job by job through their own indexes, until the page is full. Of several
filters the source is the one with the fewest jobs; if all have many, the one whose newest reach back furthest.
The tests are scalar subqueries, because those are never turned into a join over everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.contracts.jobs import TERMINAL

LIVE_MOST = 10_000
"""Waiting and running jobs are gathered and sorted up to here; beyond it they are found among the newest jobs."""
PROBED = 1000
MOST_KINDS, KNOWN_KINDS = 64, 500
"""Pairs of tool and queue that one list walks along, and pairs that are looked for."""
ENDED = frozenset(state.value for state in TERMINAL)
LIVE_IN = {
    "running": "lease",
    "cancelling": "lease",
    "queued": "ready",
    "scheduled": "timer",
    "retry_wait": "timer",
    "blocked": "blocked",
}
_SEES_TENANT = ("lease", "ready", "blocked")
_NEWEST = "ORDER BY l.created_at DESC, l.job_id DESC"
_SAME = "{0}.tenant = l.tenant AND {0}.created_at = l.created_at AND {0}.job_id = l.job_id"
_LABELLED = f"(SELECT true FROM job_label b WHERE {_SAME.format('b')} AND b.label = label_key({{}}::text))"
_LETTERED = f"(SELECT true FROM job_label b WHERE {_SAME.format('b')} AND b.label = ANY({{}}::text[]) LIMIT 1)"
_ENDED_IN = f"(SELECT true FROM job_done d WHERE {_SAME.format('d')} AND d.state = ANY({{}}::text[]))"
_IN_STATE = "(SELECT j.state FROM job j WHERE j.job_id = l.job_id) = ANY({}::text[])"
_COLUMNS = (
    ("tools", "tool"),
    ("queues", "queue"),
    ("correlation_ids", "correlation_id"),
    ("parent_ids", "parent_id"),
)
KINDS = f"""
WITH RECURSIVE kind AS (
    (SELECT tool, queue FROM job_list WHERE tenant = $1 ORDER BY tool, queue LIMIT 1)
    UNION ALL
    SELECT n.* FROM kind k CROSS JOIN LATERAL (
        SELECT tool, queue FROM job_list WHERE tenant = $1 AND (tool, queue) > (k.tool, k.queue)
        ORDER BY tool, queue LIMIT 1
    ) n
) SELECT tool, queue FROM kind LIMIT {KNOWN_KINDS}
"""
"""The pairs of tool and queue that a tenant's jobs have, by stepping from each to the next."""
KINDS_OF_TOOLS = f"""
SELECT t.tool, q.queue FROM unnest($2::text[]) AS t (tool) CROSS JOIN LATERAL (
    WITH RECURSIVE step AS (
        (SELECT queue FROM job_list WHERE tenant = $1 AND tool = t.tool ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT n.queue FROM step s CROSS JOIN LATERAL (
            SELECT queue FROM job_list WHERE tenant = $1 AND tool = t.tool AND queue > s.queue ORDER BY queue LIMIT 1
        ) n
    ) SELECT queue FROM step
) q LIMIT {KNOWN_KINDS}
"""

Position = tuple[datetime, str]
Condition = tuple[str, tuple[Any, ...]]


class Filters(msgspec.Struct):
    """Of the list. Labels must all match, of every other list any one.

    Labels are `t:tag`, `m:key=value`, `w:workflow run` and `s:schedule`, letters `d:` and what became of a dead letter.
    """

    states: list[str] = []
    tools: list[str] = []
    queues: list[str] = []
    labels: list[str] = []
    letters: list[str] = []
    correlation_ids: list[str] = []
    parent_ids: list[str] = []
    created_after: datetime | None = None
    created_before: datetime | None = None


class Branch(msgspec.Struct, frozen=True):
    """Jobs of one index in its order: a table and what they fulfil. `{}` stand for the values."""

    table: str
    holds: Condition = ("", ())
    inner: tuple[Any, ...] = ()

    @property
    def listed(self) -> bool:
        return self.table == "job_list" or "FROM job_list" in self.table


class Source(msgspec.Struct, frozen=True):
    """Branches whose union has every job of the list; `covers` names the filters that need no further test."""

    branches: tuple[Branch, ...]
    covers: frozenset[str] = frozenset()
    label: str = ""


NEWEST = Source((Branch("job_list"),))
NONE = Branch("job_list", ("false", ()))


def gathered_live(states: Sequence[str]) -> Branch:
    """All live jobs of these states, through the small tables that hold them."""
    tables = sorted({LIVE_IN[state] for state in states})
    live = " UNION ALL ".join(
        f"SELECT job_id FROM {table}" + (" WHERE tenant = {}" if table in _SEES_TENANT else " WHERE kind = 'start'")
        for table in tables
    )
    text = (
        f"(SELECT a.job_id, j.tenant, j.created_at FROM ({live}) a CROSS JOIN LATERAL "
        "(SELECT tenant, created_at FROM job WHERE job_id = a.job_id AND state = ANY({}::text[]) OFFSET 0) j OFFSET 0)"
    )
    return Branch(text, inner=(*([_TENANT] * sum(t in _SEES_TENANT for t in tables)), sorted(states)))


_TENANT = object()


def related(filters: Filters) -> Source | None:
    """Jobs of one correlation or parent are few: all of them, then sorted."""
    for name, column in _COLUMNS[2:]:
        values = getattr(filters, name)
        if values:
            text = f"(SELECT * FROM job_list WHERE {column} = ANY({{}}::text[]) OFFSET 0)"
            return Source((Branch(text, inner=(values,)),), frozenset({name}))
    return None


def by_labels(filters: Filters) -> list[Source]:
    found = [
        Source((Branch("job_label", ("l.label = label_key({}::text)", (label,))),), frozenset(), label)
        for label in dict.fromkeys(filters.labels)
    ]
    if filters.letters:
        branches = tuple(Branch("job_label", ("l.label = {}", (letter,))) for letter in filters.letters)
        found.append(Source(branches, frozenset({"letters"})))
    return found


def by_state(states: Sequence[str], *, live_few: bool) -> Source | None:
    """None if the live jobs are too many to gather."""
    live, ended = sorted(set(states) & LIVE_IN.keys()), sorted(set(states) & ENDED)
    if live and not live_few:
        return None
    branches = [Branch("job_done", ("l.state = {}", (state,))) for state in ended]
    branches += [gathered_live(live)] if live else []
    return Source(tuple(branches) or (NONE,), frozenset({"states"}))


def by_kind(pairs: Sequence[tuple[str, str]]) -> Source:
    branches = tuple(Branch("job_list", ("l.tool = {} AND l.queue = {}", pair)) for pair in pairs)
    return Source(branches or (NONE,), frozenset({"tools", "queues"}))


class Sql:
    """A statement being written, with its parameters. The first is the tenant."""

    def __init__(self, tenant: str) -> None:
        self.parameters: list[Any] = [tenant]

    def use(self, value: Any) -> str:
        if value is _TENANT:
            return "$1"
        self.parameters.append(value)
        return f"${len(self.parameters)}"

    def put(self, text: str, values: Sequence[Any]) -> str:
        return text.format(*(self.use(value) for value in values)) if values else text


def walk(
    tenant: str, filters: Filters, source: Source, *, after: Position | None, limit: int, what: str
) -> tuple[str, list[Any]]:
    """The `limit` newest jobs of the list behind `after`, with the columns `what` of them."""
    sql = Sql(tenant)
    most = sql.use(limit)
    parts = []
    for branch in source.branches:
        table = sql.put(branch.table, branch.inner)
        tests = ["l.tenant = $1", *(sql.put(*one) for one in _tests(filters, source, branch, after))]
        parts.append(f"SELECT {what} FROM {table} l WHERE {' AND '.join(tests)} {_NEWEST} LIMIT {most}")
    if len(parts) == 1:
        return parts[0], sql.parameters
    union = " UNION ALL ".join(f"({part})" for part in parts)
    return f"SELECT * FROM ({union}) l {_NEWEST} LIMIT {most}", sql.parameters


def page_query(
    tenant: str, filters: Filters, source: Source, *, after: Position | None, limit: int
) -> tuple[str, list[Any]]:
    """Places of one page, newest first."""
    return walk(tenant, filters, source, after=after, limit=limit, what="l.job_id, l.created_at")


def count_query(tenant: str, filters: Filters, source: Source, *, most: int) -> tuple[str, list[Any]]:
    """How many there are, counted up to `most`, and how far back they reach."""
    text, parameters = page_query(tenant, filters, source, after=None, limit=most)
    return f"SELECT count(*)::int, min(created_at) FROM ({text}) c", parameters


def probe_query(tenant: str, source: Source, *, after: Position | None) -> tuple[str, list[Any]]:
    """The same of the source alone, from where the page begins."""
    text, parameters = walk(tenant, Filters(), source, after=after, limit=PROBED, what="l.job_id, l.created_at")
    return f"SELECT count(*)::int, min(created_at) FROM ({text}) c", parameters


def live_query(states: Sequence[str]) -> str:
    """Whether there are more than `LIVE_MOST` live jobs; `$1` is the tenant."""
    tables = sorted({LIVE_IN[state] for state in states})
    parts = " UNION ALL ".join(
        f"(SELECT FROM {table} WHERE {'tenant = $1' if table in _SEES_TENANT else '$1::text IS NOT NULL'} "
        f"LIMIT {LIVE_MOST + 1})"
        for table in tables
    )
    return f"SELECT count(*) <= {LIVE_MOST} FROM ({parts}) live"


def _tests(filters: Filters, source: Source, branch: Branch, after: Position | None) -> list[Condition]:
    found: list[Condition] = [branch.holds] if branch.holds[0] else []
    if after is not None:
        found.append(("(l.created_at, l.job_id) < ({}, {})", after))
    if filters.created_after is not None:
        found.append(("l.created_at >= {}", (filters.created_after,)))
    if filters.created_before is not None:
        found.append(("l.created_at < {}", (filters.created_before,)))
    columns = [(column, getattr(filters, name)) for name, column in _COLUMNS if name not in source.covers]
    columns = [(column, values) for column, values in columns if values]
    if branch.listed:
        found += [(f"l.{column} = ANY({{}}::text[])", (values,)) for column, values in columns]
    elif columns:
        tests = " AND ".join(f"x.{column} = ANY({{}}::text[])" for column, _ in columns)
        text = f"(SELECT {tests} FROM job_list x WHERE {_SAME.format('x')})"
        found.append((text, tuple(values for _, values in columns)))
    found += [(_LABELLED, (label,)) for label in dict.fromkeys(filters.labels) if label != source.label]
    if filters.letters and "letters" not in source.covers:
        found.append((_LETTERED, (filters.letters,)))
    if filters.states and "states" not in source.covers:
        states = sorted(set(filters.states))
        found.append((_ENDED_IN if ENDED.issuperset(states) else _IN_STATE, (states,)))
    return found
