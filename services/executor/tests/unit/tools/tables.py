"""Tables whose figures are computed here, by other means than the product's."""

from __future__ import annotations

import csv
import io
import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

WORDS = ("Ærø", "São Tomé", "a, b", 'the "x"', "東京", "two\nlines", "  padded ", "NULL", "0", "x" * 300)


Table = dict[str, list[Any]]
Profiled = Callable[..., dict[str, Any]]


def table(rows: int, seed: int) -> Table:
    dice = random.Random(seed)

    def some(share: float, make: Callable[[], Any]) -> list[Any]:
        return [None if dice.random() < share else make() for _ in range(rows)]

    return {
        "whole": some(0.1, lambda: dice.randrange(-500, 500)),
        "big": some(0, lambda: dice.randrange(10**30)),
        "real": some(0.05, lambda: round(dice.gauss(10, 400), 3)),
        "yes": some(0.3, lambda: dice.random() < 0.2),
        "word": some(0.05, lambda: dice.choice(WORDS)),
        "day": some(0.2, lambda: date(1999, 12, 1) + timedelta(days=dice.randrange(4000))),
        "moment": some(0.2, lambda: datetime(2020, 1, 1, 3, 4, 5) + timedelta(seconds=dice.randrange(10**7))),
        "code": some(0, lambda: f"{dice.randrange(999):06d}"),
        "void": [None] * rows,
        "same": ["same"] * rows,
    }


TYPES = {
    "whole": "integer", "big": "integer", "real": "number", "yes": "boolean", "word": "text", "day": "date",
    "moment": "timestamp", "code": "text", "void": "null", "same": "text",
}  # fmt: skip


def written(columns: Table, *, delimiter: str = ",", end: str = "\n") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerow(columns)
    writer.writerows(zip(*([_cell(value) for value in column] for column in columns.values()), strict=True))
    return out.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return random.choice(("true", "TRUE", "True")) if value else "false"
    return str(plain(value))


def plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def agrees(found: dict[str, Any], name: str, values: Sequence[Any], *, top: int, kind: str) -> None:
    present = [value for value in values if value is not None]
    assert (found["name"], found["type"]) == (name, kind)
    assert (found["count"], found["nulls"]) == (len(present), len(values) - len(present))
    assert found["distinct"] == len(set(present))
    counts = Counter(map(plain, present))
    assert [entry["count"] for entry in found["top"]] == sorted(counts.values(), reverse=True)[:top]
    assert all(counts[entry["value"]] == entry["count"] for entry in found["top"])
    if kind in ("integer", "number"):
        _numbers_agree(found, sorted(present))
    if kind in ("date", "timestamp"):
        assert (found["min"], found["max"]) == (plain(min(present)), plain(max(present)))


def _numbers_agree(found: dict[str, Any], ordered: Sequence[float]) -> None:
    assert (found["min"], found["max"]) == (ordered[0], ordered[-1])
    assert math.isclose(found["mean"], math.fsum(ordered) / len(ordered), rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(found["stddev"], statistics.stdev(map(float, ordered)), rel_tol=1e-6)
    for share in (0.25, 0.5, 0.75):
        last = len(ordered) - 1
        low, high = math.floor((share - 0.01) * last), math.ceil((share + 0.01) * last)
        assert ordered[max(low, 0)] <= found["quantiles"][str(share)] <= ordered[min(high, last)]
