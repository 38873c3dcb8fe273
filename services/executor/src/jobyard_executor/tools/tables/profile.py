"""`table.profile`: a table in, its figures and a report out."""

from __future__ import annotations

import json
from typing import Any

from jobyard.author import Context, Slot, tool
from pydantic import BaseModel, ConfigDict, Field

TABLE_TYPES = (
    "text/csv",
    "text/tab-separated-values",
    "application/json",
    "application/x-ndjson",
    "application/vnd.apache.parquet",
)
VALUE_TARGET = 200 * 1024
STAGED, PROFILED = 40, 95


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid")

    top: int = Field(default=5, ge=1, le=100, description="how many of a column's most frequent values are listed")


@tool(
    "table.profile",
    version="1",
    title="Profile a table",
    slots={"data": Slot(content_types=TABLE_TYPES, description="CSV, TSV, JSON array, NDJSON or Parquet")},
    timeout_s=3600,
    limits={"columns": 1000, "memory_mib": 1024},
    examples=({"top": 10},),
)
def profile(ctx: Context, params: Params) -> dict[str, Any]:
    """Types, counts, missing and distinct values, ranges, means, quantiles and most frequent values of every column.

    Reads CSV, TSV, a JSON array of objects, NDJSON or Parquet, in bounded memory. Writes `report.html`, one page with
    charts that needs no network.
    """
    from jobyard_executor.tools.tables.detect import detect
    from jobyard_executor.tools.tables.engine import Engine
    from jobyard_executor.tools.tables.figures import Figures, describe
    from jobyard_executor.tools.tables.report import render
    from jobyard_executor.tools.tables.staging import stage

    path = ctx.path_of("data")
    size = path.stat().st_size
    found = detect(path)
    ctx.log.info("reading", format=found.format, bytes=size)
    with Engine(ctx) as engine:
        source = stage(engine, found, path, on_share=lambda share: ctx.progress(int(share * STAGED), 100, "reading"))
        ctx.log.info("read", rows=source.rows, columns=len(source.columns))
        columns: list[Figures] = []
        for number, column in enumerate(source.columns, start=1):
            columns.append(describe(engine, source, column, top=params.top))
            share = (PROFILED - STAGED) * number / len(source.columns)
            ctx.progress(int(STAGED + share), 100, f"column {number} of {len(source.columns)}: {column.name[:80]}")
    value: dict[str, Any] = {
        "format": found.format,
        "rows": source.rows,
        "columns": [column.value for column in columns],
    }
    if found.format == "csv":
        value["delimiter"] = found.delimiter
    page = render(found.format, rows=source.rows, size=size, columns=columns)
    ctx.save_file("report.html").write_text(page, encoding="utf-8")
    ctx.progress(100, 100, "done")
    ctx.log.info("profiled", columns=len(columns), nulls=sum(column.value["nulls"] for column in columns))
    return _fitting(ctx, value)


def _fitting(ctx: Context, value: dict[str, Any]) -> dict[str, Any]:
    """The value within the limit of a job's result: of very wide tables, fewer top values."""
    while len(json.dumps(value, ensure_ascii=False).encode()) > VALUE_TARGET:
        longest = max(len(column["top"]) for column in value["columns"])
        if longest == 0:
            break
        for column in value["columns"]:
            column["top"] = column["top"][: longest // 2]
        value["top_cut"] = longest // 2
        ctx.log.warning("the result would be too large, so it lists fewer top values", top=longest // 2)
    return value
