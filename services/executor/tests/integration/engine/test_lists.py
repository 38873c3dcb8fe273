"""Lists find what their filters say, and read no more rows than they show, however long the history is."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from jobyard_common.contracts.operations import LetterState
from jobyard_executor.domain.retention import Retention
from jobyard_executor.handlers.prune import prune
from jobyard_executor.handlers.prune_kinds import prune_kinds
from jobyard_executor.store import bulk, dead_letters, edges, listing, queues, reading, retention, runs
from jobyard_executor.store.listing import Filters

from .past_jobs import LIVE, TENANT, WEEKS, past, some

Play = Callable[[Any], None]


def fits(row: Mapping[str, Any], filters: Filters) -> bool:
    labels = {*row["labels"], f"s:{row['schedule']}"}
    letter = row.get("letter", "d:open") if row["dead"] else None
    return (
        row["tenant"] == TENANT
        and (not filters.states or row["state"] in filters.states)
        and (not filters.tools or row["tool"] in filters.tools)
        and (not filters.queues or row["queue"] in filters.queues)
        and labels.issuperset(filters.labels)
        and (not filters.letters or letter in filters.letters)
        and (not filters.correlation_ids or row["correlation"] in filters.correlation_ids)
        and (not filters.parent_ids or row["parent"] in filters.parent_ids)
        and (filters.created_after is None or row["at"] >= filters.created_after)
        and (filters.created_before is None or row["at"] < filters.created_before)
    )


def drawn(dice: random.Random, now: datetime) -> Iterator[Filters]:
    """Any combination of filters."""
    choices: dict[str, list[Any]] = {
        "states": [["failed"], ["failed", "cancelled"], ["queued"], [*LIVE], ["succeeded", "blocked"], ["accepted"]],
        "tools": [["a.one"], ["a.one", "b.one", "a.one"], ["none"]],
        "queues": [["gpu"], ["default", "gpu"], ["none"]],
        "labels": [["t:x"], ["t:x", "t:y"], ["s:sch_1"], [f"m:long={'z' * 3000}"], ["t:none"]],
        "letters": [["d:open"], ["d:open", "d:replayed", "d:discarded"]],
        "correlation_ids": [["c7"], ["c1", "c2"]],
        "parent_ids": [["p3"], ["p6", "p9"]],
        "created_after": [now - WEEKS / 2],
        "created_before": [now - WEEKS / 4],
    }
    for name, values in choices.items():
        for value in values:
            yield Filters(**{name: value})
    for _ in range(60):
        names = dice.sample(sorted(choices), dice.randint(2, 4))
        yield Filters(**{name: dice.choice(choices[name]) for name in names})


def test_every_combination_of_filters_finds_its_jobs_in_order(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Any) -> None:
        dice, now = random.Random(7), datetime.now(UTC).replace(microsecond=0)
        rows = [some(n, of=600, now=now, dice=dice) for n in range(1, 601)]
        await past(bench, rows)
        newest = sorted(rows, key=lambda row: (row["at"], row["id"]), reverse=True)
        for filters in drawn(dice, now):
            wanted = [row["id"] for row in newest if fits(row, filters)]
            for few in (True, False):
                monkeypatch.setattr(listing, "LIVE_MOST", 10_000 if few else 0)
                monkeypatch.setattr(listing, "MOST_KINDS", 64 if few else 1)
                seen: list[str] = []
                after = None
                while True:
                    page, after = await reading.page(bench.pool, TENANT, filters, after=after, limit=37)
                    seen += [shown.job.job_id for shown in page]
                    if after is None:
                        break
                assert seen == wanted, filters
                assert await reading.count(bench.pool, TENANT, filters) == (len(wanted), False), filters
        found, capped = await reading.counts(bench.pool, TENANT, Filters(tools=["a.one"]))
        expected = [row["state"] for row in rows if fits(row, Filters(tools=["a.one"]))]
        assert {state: n for state, n in found.items() if n} == {s: expected.count(s) for s in set(expected)}
        assert capped == []

    play(scenario)


def test_a_letter_is_listed_by_what_became_of_it(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        dice, now = random.Random(1), bench.clock.now()
        rows = [some(n, of=3, now=now, dice=dice, tenant=TENANT, state="failed", dead=True) for n in (1, 2, 3)]
        await past(bench, rows)
        ids = [row["id"] for row in reversed(rows)]

        async def listed(state: LetterState | None) -> list[str]:
            filters = Filters(letters=dead_letters.labels(state))
            return [place[1] for place in await reading.places(bench.pool, TENANT, filters, after=None, limit=9)]

        async with bench.pool.acquire() as connection:
            await dead_letters.discard(connection, TENANT, [ids[0]], note=None, actor="{}", at=now)
        assert await listed(LetterState.OPEN) == ids[1:]
        assert await listed(LetterState.DISCARDED) == ids[:1]
        await bench.pool.execute("UPDATE dead_letter SET action = 'replayed' WHERE job_id = $1", ids[0])
        assert (await listed(LetterState.REPLAYED), await listed(LetterState.DISCARDED)) == (ids[:1], [])
        assert await listed(None) == ids

    play(scenario)


def test_what_is_forgotten_leaves_no_label_and_no_edge(play: Play) -> None:
    """By a short rule, with its keyed partition, and with its week."""

    async def scenario(bench: Any) -> None:
        dice, now = random.Random(3), bench.clock.now()
        rows = [
            some(n, of=20, now=now, dice=dice, state="failed", dead=True, labels=["t:x"], schedule="sch_1")
            for n in range(1, 21)
        ]
        await past(bench, rows)
        await bench.pool.execute("INSERT INTO edge SELECT 'parent', job_id, true FROM job")
        labels = await bench.count("job_label")
        assert labels == 3 * len(rows)
        await prune_kinds(bench.engine, bench.pool, retention=Retention(30 * WEEKS, of_states={"failed": WEEKS / 2}))
        left = await bench.count("job")
        assert 0 < left < len(rows)
        assert (await bench.count("job_label"), await bench.count("edge")) == (3 * left, left)
        bench.clock.ahead = 3 * WEEKS
        await prune(bench.engine, bench.pool, retention=WEEKS)
        assert (await bench.count("job"), await bench.count("job_label"), await bench.count("edge")) == (0, 0, 0)

    play(scenario)


MANY = 12_000
SHOWN = 51
MOST_READ = 4_000
"""Rows of all nodes of a plan together: a page, the tests of its jobs, and one row ahead in each partition."""


def test_a_page_reads_about_what_it_shows(play: Play) -> None:
    """Every tenth job has failed and is a dead letter, every tenth has the tag, each fifth is scheduled years ahead."""

    async def scenario(bench: Any) -> None:
        dice, now = random.Random(5), bench.clock.now()
        rows = []
        for n in range(1, MANY + 1):
            state = "failed" if n % 10 == 0 else "scheduled" if n % 5 == 0 else "succeeded"
            labels = ["t:x"] if n % 20 < 2 else []
            given = {"tenant": TENANT, "state": state, "labels": labels, "dead": state == "failed", "parent": None}
            rows.append(some(n, of=MANY, now=now, dice=dice, correlation=f"c{n}", **given))
        await past(bench, rows)
        await bench.pool.execute("ANALYZE")
        deep = (now - WEEKS / 2, "job_")
        lists = {
            "all": Filters(),
            "state": Filters(states=["failed"]),
            "states": Filters(states=["failed", "cancelled"]),
            "tag": Filters(labels=["t:x"]),
            "no such tag": Filters(labels=["t:none"]),
            "tag and state": Filters(labels=["t:x"], states=["failed"]),
            "schedule": Filters(labels=["s:sch_1"]),
            "tool": Filters(tools=["a.one"]),
            "no such tool": Filters(tools=["none"]),
            "queue": Filters(queues=["gpu"]),
            "tool, queue and state": Filters(tools=["a.one"], queues=["gpu"], states=["failed"]),
            "correlation": Filters(correlation_ids=["c7"]),
            "time": Filters(created_before=now - WEEKS / 2),
            "running": Filters(states=["running"]),
            "open dead letters": Filters(letters=dead_letters.labels(LetterState.OPEN)),
            "all dead letters": Filters(letters=dead_letters.labels(None)),
            "a bulk operation": Filters(letters=dead_letters.labels(LetterState.OPEN), created_before=now),
        }
        bad = []
        async with bench.pool.acquire() as connection:
            for name, filters in lists.items():
                for after in (None, deep):
                    source = await reading.source_of(connection, TENANT, filters, after=after)
                    query = listing.page_query(TENANT, filters, source, after=after, limit=SHOWN)
                    rows_read, text = await read(connection, *query)
                    if rows_read > MOST_READ:
                        bad.append(f"{name} reads {rows_read} rows:\n{text}")
            for sql, *parameters in ((listing.KINDS, TENANT), (listing.KINDS_OF_TOOLS, TENANT, ["a.one", "none"])):
                rows_read, text = await read(connection, sql, parameters)
                if rows_read > MOST_READ:
                    bad.append(f"kinds read {rows_read} rows:\n{text}")
            rows_read, text = await read(connection, queues.LATER, [20])
            if rows_read > 20 * 16:
                bad.append(f"counting what comes later reads {rows_read} rows:\n{text}")
        assert not bad, "\n\n".join(bad)

    play(scenario)


async def read(connection: Any, sql: str, parameters: Sequence[Any]) -> tuple[int, str]:
    """Rows that the nodes of a plan looked at, and the nodes."""
    found = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *parameters))
    count, nodes = 0, []
    todo = [(found[0]["Plan"], 0)]
    while todo:
        node, depth = todo.pop()
        rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        count += round(rows)
        if node["Actual Loops"] and (rows or "Scan" not in node["Node Type"]):
            nodes.append(f"{'  ' * depth}{node['Node Type']} {node.get('Index Name', '')} {rows:.0f}")
        todo += [(child, depth + 1) for child in reversed(node.get("Plans", []))]
    return count, "\n".join(nodes)


def test_pages_of_bulk_operations_and_letters_take_their_indexes(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        dice, now = random.Random(9), bench.clock.now()
        await past(bench, [some(n, of=MANY, now=now, dice=dice, parent=None) for n in range(1, MANY + 1)])
        columns = ", ".join(bulk.COLUMNS)
        await bench.pool.execute(
            f"INSERT INTO bulk_operation ({columns}) SELECT 'blk_' || n, 'tnt_' || n % 3, 'cancel', '[]', NULL, "
            "'{}', NULL, CASE WHEN n % 500 = 0 THEN 'running' ELSE 'done' END, '{}', NULL, 'c', 't', "
            "now() - n * interval '1 s', NULL, 0, false, 0, 0, '{}', '[]', NULL, NULL, now(), now() "
            "FROM generate_series(1, 5000) n"
        )
        await bench.pool.execute(
            "INSERT INTO dead_letter (job_id, tenant, action, actor, at) "
            "SELECT 'job_' || n, 'tnt_test', 'discarded', '{}', now() FROM generate_series(1, 20000) n"
        )
        await bench.pool.execute("ANALYZE")
        ids = [row[0] for row in await bench.pool.fetch("SELECT job_id FROM job WHERE dead LIMIT 50")]
        statements: dict[str, tuple[Any, ...]] = {
            "a page of bulk operations": (bulk.PAGE, "tnt_1", None, None, None, SHOWN),
            "a later page": (bulk.PAGE, "tnt_1", now, "blk_", None, SHOWN),
            "the next step": (bulk.PENDING, now),
            "what was done about letters": (dead_letters.HANDLED, TENANT, ids),
            "keyed jobs to forget": (retention.KEYED, now - WEEKS, 100),
        }
        async with bench.pool.acquire() as connection:
            for name, (sql, *parameters) in statements.items():
                plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {sql}", *parameters))
                assert "Seq Scan" not in plan, f"{name}:\n{plan}"
            for name, sql, *parameters in (
                ("running by queue", queues.RUNNING),
                ("stuck steps", runs.STUCK, now, 500),
                ("edges of children that are gone", edges.FORGET, "job_000", "job_001", 100),
                ("letters of jobs that are gone", dead_letters.FORGET[0], now, 100),
            ):
                plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {sql}", *parameters))
                whole = [int(rows) for rows in re.findall(r"Seq Scan on job_w.*rows=(\d+)", plan)]
                assert "_pkey on job_w" in plan and max(whole, default=0) < 10, f"{name}:\n{plan}"

    play(scenario)
