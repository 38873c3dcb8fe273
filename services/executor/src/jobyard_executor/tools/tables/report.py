"""The report: one HTML page with its own charts. It needs no network and holds no script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from jobyard_executor.tools.tables.charts import histogram, shares
from jobyard_executor.tools.tables.figures import Figures
from jobyard_executor.tools.tables.style import STYLE

CHARTED = 200
LONGEST_SHOWN = 80
LABELS = (
    ("min", "Minimum"),
    ("max", "Maximum"),
    ("mean", "Mean"),
    ("stddev", "Standard deviation"),
)
QUANTILES = (("0.25", "Lower quartile"), ("0.5", "Median"), ("0.75", "Upper quartile"))
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(form: str, *, rows: int, size: int, columns: Sequence[Figures]) -> str:
    """The page. Everything from the table is escaped; beyond 200 columns the charts are left out."""
    cells = rows * len(columns)
    missing = sum(column.value["nulls"] for column in columns) / cells if cells else 0
    tiles = (
        ("Rows", f"{rows:,}"),
        ("Columns", f"{len(columns):,}"),
        ("Missing cells", _percent(missing)),
        ("Format", form.upper()),
        ("Size", _bytes(size)),
    )
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            "<title>Table profile</title>",
            f"<style>{STYLE}</style></head><body><main>",
            "<header><h1>Table profile</h1>",
            '<dl class="tiles">' + "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in tiles),
            "</dl></header>",
            _overview(columns, rows),
            '<section class="cards">',
            *_cards(columns, rows),
            "</section>",
            "<footer>Profiled by Jobyard. Figures cover every row; nulls are left out of all but their own.</footer>",
            "</main></body></html>",
        )
    )


def _overview(columns: Sequence[Figures], rows: int) -> str:
    lines = (
        f'<tr><td><a href="#column-{number}">{_text(column.value["name"])}</a></td>'
        f"<td>{_badge(column.value['type'])}</td>"
        f'<td class="n">{column.value["count"]:,}</td>'
        f'<td class="n">{_percent(column.value["nulls"] / rows)}</td>'
        f'<td class="n">{_distinct(column.value)}</td>'
        f'<td class="n">{_show(column.value.get("min"))}</td><td class="n">{_show(column.value.get("max"))}</td></tr>'
        for number, column in enumerate(columns, start=1)
    )
    head = "".join(
        f"<th{mark}>{name}</th>"
        for name, mark in (
            ("Column", ""),
            ("Type", ""),
            ("Values", ' class="n"'),
            ("Missing", ' class="n"'),
            ("Distinct", ' class="n"'),
            ("Minimum", ' class="n"'),
            ("Maximum", ' class="n"'),
        )
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<section class="overview">{table}</section>'


def _cards(columns: Sequence[Figures], rows: int) -> Iterable[str]:
    for number, column in enumerate(columns, start=1):
        value = column.value
        yield (
            f'<article id="column-{number}"><h2>{_text(value["name"])} {_badge(value["type"])}</h2>'
            f'<p class="sub">{value["count"]:,} values · {_distinct(value)} distinct · '
            f"{value['nulls']:,} missing ({_percent(value['nulls'] / rows)})</p>"
            f"{_chart(column) if len(columns) <= CHARTED else ''}{_facts(value)}{_top(value)}</article>"
        )


def _chart(column: Figures) -> str:
    if column.histogram:
        return histogram(column.histogram)
    return shares(
        [(str(_show(entry["value"])), entry["count"]) for entry in column.value["top"]], column.value["count"]
    )


def _facts(value: dict[str, Any]) -> str:
    facts = [(label, value[key]) for key, label in LABELS if value.get(key) is not None]
    facts += [(label, value["quantiles"][key]) for key, label in QUANTILES if "quantiles" in value]
    if not facts:
        return ""
    return (
        '<dl class="facts">'
        + "".join(f"<div><dt>{name}</dt><dd>{_show(fact)}</dd></div>" for name, fact in facts)
        + "</dl>"
    )


def _top(value: dict[str, Any]) -> str:
    if not value["top"]:
        return '<p class="empty">Every value is missing.</p>'
    lines = "".join(
        f'<tr><td>{_show(entry["value"])}</td><td class="n">{entry["count"]:,}</td>'
        f'<td class="n">{_percent(entry["count"] / value["count"])}</td></tr>'
        for entry in value["top"]
    )
    return (
        '<details><summary>Most frequent values</summary><table><thead><tr><th>Value</th><th class="n">Count</th>'
        f'<th class="n">Share</th></tr></thead><tbody>{lines}</tbody></table></details>'
    )


def _badge(kind: str) -> str:
    return f'<span class="badge {kind}">{kind}</span>'


def _distinct(value: dict[str, Any]) -> str:
    return f"{value['distinct']:,}"


def _show(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return _text(str(value))


def _text(text: str) -> str:
    shown = "".join(character if character.isprintable() else "\u00b7" for character in text)
    return escape(shown if len(shown) <= LONGEST_SHOWN else shown[:LONGEST_SHOWN] + "…")


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share in (0, 1) else f"{share * 100:.1f} %"


def _bytes(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    return ""
