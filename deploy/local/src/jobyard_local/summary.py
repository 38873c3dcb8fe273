"""A table profile as lines that a person can read and check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

NUMERIC = ("integer", "number")
HEAD = ("column", "type", "missing", "distinct", "min", "max", "mean")


def profile(value: Any) -> Iterator[str]:
    """Rows, then a line per column: type, missing, distinct; for the numeric ones minimum, maximum and mean."""
    columns = value["columns"]
    yield f"{value['rows']:,} rows, {len(columns)} columns ({value['format']})"
    yield ""
    yield from aligned([HEAD, *(_row(column) for column in columns)])


def _row(column: dict[str, Any]) -> tuple[str, ...]:
    distinct = f"{column['distinct']:,}" if column.get("distinct_exact", True) else f"~{column['distinct']:,}"
    numeric = column["type"] in NUMERIC
    ends = (
        [number(column.get("min")), number(column.get("max"))]
        if numeric
        else [text(column.get("min")), text(column.get("max"))]
    )
    mean = number(column.get("mean")) if numeric else ""
    return (column["name"], column["type"], f"{column['nulls']:,}", distinct, *ends, mean)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Two columns of words to the left, figures to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()


def number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}".rstrip("0").rstrip(".")


def text(value: Any) -> str:
    return "" if value is None else str(value)[:25]


def size(count: int | None) -> str:
    if count is None:
        return "unknown size"
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 2**20 else f"{count / 2**20:.1f} MiB"
