"""Charts as inline SVG: no script, no font, no colour that the page's style does not set. Texts come escaped."""

from __future__ import annotations

from collections.abc import Sequence

from jobyard_executor.tools.tables.figures import Bar

WIDTH, HEIGHT, GAP = 480, 120, 2
ROW = 22
LABEL_WIDTH = 170
LABEL_LENGTH = 24
MOST_ROWS = 8


def histogram(bars: Sequence[Bar]) -> str:
    """Upright bars, one for each equal part of the range."""
    tallest = max(bar.count for bar in bars) or 1
    step = WIDTH / len(bars)
    drawn = "".join(
        f'<rect x="{number * step + GAP / 2:.1f}" y="{HEIGHT - bar.count / tallest * HEIGHT:.1f}" '
        f'width="{step - GAP:.1f}" height="{bar.count / tallest * HEIGHT:.1f}" rx="1.5">'
        f"<title>{bar.low} to {bar.high}: {bar.count:,}</title></rect>"
        for number, bar in enumerate(bars)
    )
    middle = bars[len(bars) // 2].low
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 18}" role="img" aria-label="Histogram">'
        f'<g class="bars">{drawn}</g><line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>'
        f'<text x="0" y="{HEIGHT + 14}">{bars[0].low}</text>'
        f'<text x="{WIDTH / 2}" y="{HEIGHT + 14}" text-anchor="middle">{middle}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 14}" text-anchor="end">{bars[-1].high}</text></svg>'
    )


def shares(entries: Sequence[tuple[str, int]], total: int) -> str:
    """Lying bars for the most frequent values; labels are HTML already."""
    shown = entries[:MOST_ROWS]
    if not shown:
        return ""
    longest = max(count for _, count in shown)
    room = WIDTH - LABEL_WIDTH - 60
    drawn = "".join(
        f'<text x="{LABEL_WIDTH - 8}" y="{number * ROW + 15}" text-anchor="end">{_cut(label)}</text>'
        f'<rect x="{LABEL_WIDTH}" y="{number * ROW + 3}" width="{max(count / longest * room, 1):.1f}" '
        f'height="{ROW - 6}" rx="2">'
        f"<title>{label}: {count:,}</title></rect>"
        f'<text x="{LABEL_WIDTH + max(count / longest * room, 1) + 6:.1f}" y="{number * ROW + 15}">'
        f"{count / total * 100:.1f} %</text>"
        for number, (label, count) in enumerate(shown)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {len(shown) * ROW + 4}" role="img" aria-label="Most frequent values">'
        f'<g class="bars">{drawn}</g></svg>'
    )


def _cut(label: str) -> str:
    """A label that fits its place; one that holds an escaped character is cut before it, never inside."""
    if len(label) <= LABEL_LENGTH:
        return label
    short = label[:LABEL_LENGTH]
    entity = short.rfind("&")
    if entity >= 0 and ";" not in short[entity:]:
        short = short[:entity]
    return short + "…"
