"""What a column holds. A sample says what is possible; all rows must confirm it, so one late exception counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobyard_executor.tools.tables.engine import Engine
from jobyard_executor.tools.tables.staging import ColumnSource, Source

Type = Literal["integer", "number", "boolean", "date", "timestamp", "text", "null"]
Kind = Literal["integer", "number", "boolean", "date", "timestamp", "timestamp_zone", "text", "null"]

SAMPLE = 20_000
MOST_DIGITS = 38
"""More do not fit an exact integer; such values are codes, so they stay text."""

_INTEGER = f"(0|[1-9][0-9]{{0,{MOST_DIGITS - 1}}})"
_CLOCK = r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_ZONE = r"(Z|z|[-+][0-9]{2}(:?[0-9]{2})?)"

TESTS: dict[Kind, str] = {
    "integer": f"regexp_full_match(v, '[-+]?{_INTEGER}')",
    "number": f"regexp_full_match(v, '[-+]?({_INTEGER}([.][0-9]*)?|[.][0-9]+)([eE][-+]?[0-9]{{1,3}})?') "
    "AND isfinite(TRY_CAST(v AS DOUBLE))",
    "boolean": "lower(v) IN ('true', 'false')",
    "date": f"regexp_full_match(v, '{_DAY}') AND TRY_CAST(v AS DATE) IS NOT NULL",
    "timestamp": f"regexp_full_match(v, '{_DAY}({_CLOCK})?') AND TRY_CAST(v AS TIMESTAMP) IS NOT NULL",
    "timestamp_zone": f"regexp_full_match(v, '{_DAY}{_CLOCK}{_ZONE}') AND TRY_CAST(v AS TIMESTAMPTZ) IS NOT NULL",
}
"""In order of preference. A leading zero fits neither integer nor number: what has one is a code."""

VALUES: dict[Kind, str] = {
    "integer": "CAST(v AS HUGEINT)",
    "number": "CAST(v AS DOUBLE)",
    "boolean": "lower(v) = 'true'",
    "date": "CAST(v AS DATE)",
    "timestamp": "CAST(v AS TIMESTAMP)",
    "timestamp_zone": "make_timestamp(epoch_us(CAST(v AS TIMESTAMPTZ)))",
    "text": "v",
    "null": "v",
}
SHORT_INTEGER = 18
JSON_STRING = "c LIKE '\"%'"
JSON_TEXT = f"CASE WHEN {JSON_STRING} THEN json_extract_string(c, '$') ELSE c END"
SIGNS = {"-": "number", **dict.fromkeys("0123456789", "number"), "t": "boolean", "f": "boolean", '"': "string"}


@dataclass(frozen=True, kw_only=True)
class Kinded:
    """A column whose type is known. `relation` has one column `t`: its values, typed, null where there is none."""

    type: Type
    zoned: bool
    relation: str


def kind_of(engine: Engine, source: Source, column: ColumnSource) -> Kinded:
    if column.form == "native":
        return _native(source, column)
    if column.form == "json":
        texts = f"(SELECT {JSON_TEXT} AS v FROM (SELECT {column.identifier} AS c FROM {source.relation}))"
        viable = _json_viable(engine, source, column)
    else:
        texts = f"(SELECT {column.identifier} AS v FROM {source.relation})"
        viable = tuple(TESTS)
    possible = _confirmed(engine, f"(SELECT v FROM {texts} WHERE v IS NOT NULL LIMIT {SAMPLE})", viable)
    kind, longest = _decided(engine, texts, possible) if possible else ("text", 0)
    value = "CAST(v AS BIGINT)" if kind == "integer" and longest <= SHORT_INTEGER else VALUES[kind]
    return Kinded(type=_shown(kind), zoned=kind == "timestamp_zone", relation=f"(SELECT {value} AS t FROM {texts})")


def _confirmed(engine: Engine, relation: str, viable: tuple[Kind, ...]) -> tuple[Kind, ...]:
    if not viable:
        return ()
    tests = ", ".join(f"coalesce(bool_and({TESTS[kind]}), true)" for kind in viable)
    answers = engine.row(f"SELECT {tests} FROM {relation} WHERE v IS NOT NULL")
    return tuple(kind for kind, holds in zip(viable, answers, strict=True) if holds)


def _decided(engine: Engine, texts: str, possible: tuple[Kind, ...]) -> tuple[Kind, int]:
    tests = ", ".join(f"coalesce(bool_and({TESTS[kind]}), true)" for kind in possible)
    present, longest, *answers = engine.row(
        f"SELECT count(v), coalesce(max(length(v)), 0), {tests} FROM {texts} WHERE v IS NOT NULL"
    )
    if not present:
        return "null", 0
    return next((kind for kind, holds in zip(possible, answers, strict=True) if holds), "text"), longest


def _json_viable(engine: Engine, source: Source, column: ColumnSource) -> tuple[Kind, ...]:
    """JSON says what is a number or a truth value; only its strings may be dates."""
    rows = engine.rows(
        f"SELECT DISTINCT substr({column.identifier}, 1, 1) FROM {source.relation} "
        f"WHERE {column.identifier} IS NOT NULL"
    )
    signs = {SIGNS.get(row[0], "nested") for row in rows}
    if not signs:
        return tuple(TESTS)
    if signs == {"number"}:
        return ("integer", "number")
    if signs == {"boolean"}:
        return ("boolean",)
    return ("date", "timestamp", "timestamp_zone") if signs == {"string"} else ()


def _native(source: Source, column: ColumnSource) -> Kinded:
    name, sql_type = column.identifier, column.sql_type
    zoned = False
    if sql_type in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"):
        kind, value = "integer", name
    elif sql_type in ("HUGEINT", "UHUGEINT") or (sql_type.startswith("DECIMAL") and sql_type.endswith(",0)")):
        kind, value = "integer", f"CAST({name} AS HUGEINT)"
    elif sql_type in ("FLOAT", "DOUBLE"):
        kind, value = "number", f"CASE WHEN isfinite({name}) THEN CAST({name} AS DOUBLE) END"
    elif sql_type.startswith("DECIMAL"):
        kind, value = "number", f"CAST({name} AS DOUBLE)"
    elif sql_type == "BOOLEAN":
        kind, value = "boolean", name
    elif sql_type == "DATE":
        kind, value = "date", name
    elif sql_type == "TIMESTAMP WITH TIME ZONE":
        kind, value, zoned = "timestamp", f"make_timestamp(epoch_us({name}))", True
    elif sql_type.startswith("TIMESTAMP"):
        kind, value = "timestamp", f"CAST({name} AS TIMESTAMP)"
    else:
        kind, value = "text", f"CAST({name} AS VARCHAR)"
    return Kinded(type=kind, zoned=zoned, relation=f"(SELECT {value} AS t FROM {source.relation})")  # type: ignore[arg-type]


def _shown(kind: Kind) -> Type:
    return "timestamp" if kind == "timestamp_zone" else kind
