"""Bringing a table into columns on disk, where each can be read by itself; every row is checked on the way.

CSV, TSV and JSON are copied into a Parquet file of texts in the work dir; a Parquet file is used as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
from jobyard.author import ToolError

from jobyard_executor.tools.tables.detect import MOST_COLUMNS, Detected, refuse
from jobyard_executor.tools.tables.engine import Engine, literal

LONGEST_LINE = 8 * 2**20
LONGEST_OBJECT = 64 * 2**20
OnShare = Callable[[float], None]


@dataclass(frozen=True, kw_only=True)
class ColumnSource:
    """A column as staged. `identifier` is its quoted SQL name.

    `form`: `text` = what a CSV cell held, `json` = the JSON text of a value, `native` = a value of `sql_type`.
    """

    name: str
    identifier: str
    form: Literal["text", "json", "native"]
    sql_type: str = "VARCHAR"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A staged table; `relation` stands after FROM."""

    relation: str
    rows: int
    columns: Sequence[ColumnSource]


def stage(engine: Engine, found: Detected, path: Path, *, on_share: OnShare) -> Source:
    """Raises ToolError that says what is wrong with the table, and where."""
    try:
        if found.format in ("csv", "tsv"):
            source = _separated(engine, found, path, on_share)
        elif found.format == "parquet":
            source = _parquet(engine, path)
        else:
            source = _json(engine, found, path, on_share)
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise _explained(str(error).replace(str(path), "the table"), found) from None
    if source.rows == 0:
        raise refuse("no_rows", "The table has no rows: there is nothing to profile.")
    return source


def _separated(engine: Engine, found: Detected, path: Path, on_share: OnShare) -> Source:
    columns = [
        ColumnSource(name=name, identifier=f"c{number}", form="text") for number, name in enumerate(found.header)
    ]
    types = ", ".join(f"'{column.identifier}': 'VARCHAR'" for column in columns)
    reader = (
        f"read_csv({literal(str(path))}, auto_detect=false, header=true, columns={{{types}}}, "
        f"delim={literal(found.delimiter)}, quote='\"', escape='\"', nullstr='', strict_mode=true, "
        f"compression='none', max_line_size={LONGEST_LINE}, buffer_size={2 * LONGEST_LINE})"
    )
    return _copied(engine, reader, columns, on_share)


def _json(engine: Engine, found: Detected, path: Path, on_share: OnShare) -> Source:
    options = (
        f"{literal(str(path))}, format={literal('array' if found.format == 'json' else 'newline_delimited')}, "
        f"compression='none', maximum_object_size={LONGEST_OBJECT}"
    )
    sniffing = "sample_size=-1, maximum_depth=1, map_inference_threshold=-1, field_appearance_threshold=0"
    described = engine.rows(f"DESCRIBE SELECT * FROM read_json({options}, {sniffing})")
    names = [str(row[0]) for row in described]
    if names == ["json"]:
        _only_objects(engine, options)
    if len(names) > MOST_COLUMNS:
        raise refuse("too_many_columns", f"The objects have {len(names):,} members; {MOST_COLUMNS:,} are the limit.")
    columns = [ColumnSource(name=name, identifier=f"c{number}", form="json") for number, name in enumerate(names)]
    types = ", ".join(f"{literal(name)}: 'JSON'" for name in names)
    chosen = ", ".join(f'"{_doubled(column.name)}"::VARCHAR AS {column.identifier}' for column in columns)
    return _copied(engine, f"(SELECT {chosen} FROM read_json({options}, columns={{{types}}}))", columns, on_share)


def _only_objects(engine: Engine, options: str) -> None:
    """DuckDB calls the only column `json` when something is no object; it may also really be called so."""
    others, members = engine.row(
        "SELECT count(*) FILTER (json_type(json) <> 'OBJECT'), "
        "coalesce(max(len(json_keys(json))) FILTER (json_type(json) = 'OBJECT'), 0) "
        f"FROM read_json_objects({options})"
    )
    if others:
        raise refuse("not_a_table", f"{others:,} of the values are no JSON objects; a table needs an object a row.")
    if not members:
        raise refuse("no_rows", "The JSON holds no object with members: there is nothing to profile.")


def _copied(engine: Engine, reader: str, columns: Sequence[ColumnSource], on_share: OnShare) -> Source:
    staged = engine.folder / "staged.parquet"
    engine.rows(
        f"COPY (SELECT * FROM {reader}) TO {literal(str(staged))} "
        "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 50000)",
        on_share=on_share,
    )
    relation = f"read_parquet({literal(str(staged))})"
    return Source(relation=relation, rows=engine.row(f"SELECT count(*) FROM {relation}")[0], columns=columns)


def _parquet(engine: Engine, path: Path) -> Source:
    relation = f"read_parquet({literal(str(path))}, hive_partitioning=false)"
    described = engine.rows(f"DESCRIBE SELECT * FROM {relation}")
    if len(described) > MOST_COLUMNS:
        raise refuse("too_many_columns", f"The table has {len(described):,} columns; {MOST_COLUMNS:,} are the limit.")
    columns = [
        ColumnSource(name=str(row[0]), identifier=f'"{_doubled(str(row[0]))}"', form="native", sql_type=str(row[1]))
        for row in described
    ]
    return Source(relation=relation, rows=engine.row(f"SELECT count(*) FROM {relation}")[0], columns=columns)


def _doubled(name: str) -> str:
    return name.replace('"', '""')


def _explained(text: str, found: Detected) -> ToolError:
    """DuckDB's message as one sentence about the table, without its advice on settings that a user cannot reach."""
    line = re.search(r"CSV Error on Line: (\d+)", text)
    place = f" in line {int(line[1]):,}" if line else ""
    if widths := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text):
        return refuse("row_shape", f"The row{place} has {widths[2]} fields where the header has {widths[1]}.")
    if "unterminated quote" in text or "quote should be followed" in text:
        return refuse("row_shape", f"A quoted value{place} does not end, or goes on after its closing quote.")
    if "nvalid unicode" in text or "not utf-8" in text:
        return refuse("encoding", f"The text{place} is not UTF-8. Save the table as UTF-8.")
    if "aximum line size" in text or "maximum_object_size" in text:
        return refuse("too_large", f"A row{place} is larger than {LONGEST_LINE // 2**20} MiB.")
    if "state machine" in text:
        return refuse("row_shape", "The rows do not all end in the same way: lines end in both \\n and \\r\\n.")
    if malformed := re.search(r"Malformed JSON.*?, (at byte [^\n]*)", text):
        return refuse("not_a_table", f"The JSON is broken {malformed[1].partition('. ')[0].rstrip('. ')}.")
    first = text.partition("\n")[0].partition(" Try ")[0].strip().rstrip(".")
    return refuse("not_a_table", f"The file cannot be read as {found.format.upper()}: {first[:300]}.")
