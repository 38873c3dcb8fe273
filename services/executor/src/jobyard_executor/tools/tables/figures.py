"""The figures of one column, and the bars for its chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from jobyard_executor.tools.tables.engine import Engine
from jobyard_executor.tools.tables.kinds import Kinded, kind_of
from jobyard_executor.tools.tables.staging import ColumnSource, Source

SHARES = (0.25, 0.5, 0.75)
EXACT_DISTINCT = 100_000
SAMPLE_FROM = 20_000_000
"""From so many values on, quantiles come from a sample of 2^17, whose ranks are right within 0.007 (5 sigma)."""
RESERVOIR = 2**17
LONGEST_TEXT = 1000
BARS = 32


@dataclass(frozen=True)
class Bar:
    """`low` and `high` are ISO texts for dates."""

    low: str
    high: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """`value` is the column's part of the result."""

    value: dict[str, Any]
    histogram: Sequence[Bar] = ()


def describe(engine: Engine, source: Source, column: ColumnSource, *, top: int) -> Figures:
    kinded = kind_of(engine, source, column)
    count = engine.row(f"SELECT count(t) FROM {kinded.relation}")[0]
    kind = kinded.type if count else "null"
    value: dict[str, Any] = {"name": clean(column.name), "type": kind, "count": count, "nulls": source.rows - count}
    if not count:
        return Figures(value=value | {"distinct": 0, "top": []})
    distinct, frequent = _frequencies(engine, kinded, top)
    value["distinct"] = distinct
    if distinct > EXACT_DISTINCT:
        value["distinct_exact"] = False
    histogram: Sequence[Bar] = ()
    if kind in ("integer", "number"):
        value |= _numbers(engine, kinded, count)
        histogram = _bars(engine, kinded, "CAST(t AS DOUBLE)", spelled=_number_text)
    elif kind in ("date", "timestamp"):
        low, high = engine.row(f"SELECT min(t), max(t) FROM {kinded.relation}")
        value |= {"min": _plain(low, kinded.zoned), "max": _plain(high, kinded.zoned)}
        histogram = _bars(engine, kinded, "epoch(t)", spelled=_moment_text)
    value["top"] = [{"value": _plain(found, kinded.zoned), "count": times} for found, times in frequent]
    return Figures(value=value, histogram=histogram)


def _frequencies(engine: Engine, kinded: Kinded, top: int) -> tuple[int, list[tuple[Any, int]]]:
    """Distinct values, and the most frequent ones; the grouping goes to disk when it outgrows the memory."""
    distinct, frequent = engine.row(
        f"SELECT count(*), max_by({{'t': t, 'n': n}}, n, {top}) FROM "
        f"(SELECT t, count(*) AS n FROM {kinded.relation} WHERE t IS NOT NULL GROUP BY t)"
    )
    return distinct, [(entry["t"], entry["n"]) for entry in frequent]


def _numbers(engine: Engine, kinded: Kinded, count: int) -> dict[str, Any]:
    shares = ", ".join(map(str, SHARES))
    quantile = (
        f"reservoir_quantile(t, [{shares}], {RESERVOIR})" if count > SAMPLE_FROM else f"quantile_disc(t, [{shares}])"
    )
    low, high, quantiles = engine.row(f"SELECT min(t), max(t), {quantile} FROM {kinded.relation}")
    mean = "avg(t)" if kinded.type == "integer" else "favg(t)"
    figures = {
        "min": low,
        "max": high,
        "mean": _aggregate(engine, kinded, mean),
        "stddev": _aggregate(engine, kinded, "stddev_samp(CAST(t AS DOUBLE))"),
        "quantiles": {str(share): found for share, found in zip(SHARES, quantiles, strict=True)},
    }
    if count > SAMPLE_FROM:
        figures["quantiles_exact"] = False
    return figures


def _aggregate(engine: Engine, kinded: Kinded, expression: str) -> float | None:
    """None where the figure does not fit a double, or does not exist."""
    try:
        found = engine.row(f"SELECT {expression} FROM {kinded.relation}")[0]
    except duckdb.OutOfRangeException:
        return None
    return found if found is not None and math.isfinite(found) else None


def _bars(engine: Engine, kinded: Kinded, number: str, *, spelled: Any) -> Sequence[Bar]:
    low, high = engine.row(f"SELECT min({number}), max({number}) FROM {kinded.relation}")
    width = (high - low) / BARS
    if not math.isfinite(width) or width <= 0 or low + width == low:
        return ()
    rows = engine.rows(
        f"SELECT least(CAST(floor(({number} - ?) / ?) AS INTEGER), {BARS - 1}) AS bar, count(*) "
        f"FROM {kinded.relation} WHERE t IS NOT NULL GROUP BY bar",
        [low, width],
    )
    counts: dict[int, int] = dict(rows)
    edges = [spelled(low + width * bar, kinded) for bar in range(BARS + 1)]
    return [Bar(edges[bar], edges[bar + 1], counts.get(bar, 0)) for bar in range(BARS)]


def _number_text(number: float, kinded: Kinded) -> str:
    return f"{number:,.6g}"


def _moment_text(seconds: float, kinded: Kinded) -> str:
    try:
        moment = datetime.fromtimestamp(seconds, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return moment.date().isoformat() if kinded.type == "date" else moment.strftime("%Y-%m-%d %H:%M:%S")


def _plain(value: Any, zoned: bool) -> Any:
    """A value as JSON holds it."""
    if isinstance(value, datetime):
        return value.isoformat() + ("Z" if zoned else "")
    if isinstance(value, date):
        return value.isoformat()
    return clean(value) if isinstance(value, str) else value


def clean(text: str) -> str:
    """A text for results: without NUL, which databases refuse, and not endless."""
    shown = text.replace("\x00", "\ufffd")
    return shown if len(shown) <= LONGEST_TEXT else shown[:LONGEST_TEXT] + "…"
