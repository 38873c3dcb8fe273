"""The style of the report, for light and dark screens and for paper."""

from __future__ import annotations

STYLE = """
:root { --ink: #1b1f24; --soft: #667080; --line: #e2e6eb; --page: #f6f7f9; --card: #fff; --bar: #3b76d8;
  --warm: #b4690e; --green: #1d7f5c; --violet: #7650c8; --grey: #78818d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --soft: #98a2b0; --line: #2c323b; --page: #12151a;
  --card: #1a1e25; --bar: #6ea0f5; --warm: #e0a04d; --green: #57bf97; --violet: #ab8df0; --grey: #98a2b0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 48px; }
h1 { font-size: 26px; margin: 0 0 16px; letter-spacing: -.01em; }
h2 { font-size: 16px; margin: 0; overflow-wrap: anywhere; }
a { color: inherit; text-decoration-color: var(--line); text-underline-offset: 3px; }
dl, dd, p { margin: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin-bottom: 20px; }
.tiles div, article, .overview { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tiles div { padding: 12px 16px; }
dt { color: var(--soft); font-size: 12px; }
.tiles dd { font-size: 21px; font-weight: 600; font-variant-numeric: tabular-nums; }
.overview { overflow-x: auto; margin-bottom: 20px; }
table { width: 100%; border-collapse: collapse; font-size: 13.5px; }
th, td { text-align: left; padding: 7px 14px; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: 12px; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); gap: 16px;
  align-items: start; }
article { padding: 16px 18px; scroll-margin-top: 12px; }
article:target { border-color: var(--bar); }
.sub { color: var(--soft); font-size: 13px; margin: 2px 0 12px; }
.empty { color: var(--soft); }
.badge { display: inline-block; font-size: 11px; font-weight: 600; padding: 0 8px; border-radius: 99px;
  color: var(--grey); border: 1px solid currentColor; vertical-align: 2px; }
.badge.integer, .badge.number { color: var(--bar); }
.badge.date, .badge.timestamp { color: var(--violet); }
.badge.boolean { color: var(--green); }
.badge.text { color: var(--warm); }
svg { width: 100%; height: auto; display: block; margin: 0 0 12px; }
svg text { font-size: 11px; fill: var(--soft); }
.bars rect { fill: var(--bar); opacity: .85; }
.bars rect:hover { opacity: 1; }
.axis { stroke: var(--line); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(120px, 1fr)); gap: 8px 16px;
  margin-bottom: 10px; }
.facts dd { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
details { border-top: 1px solid var(--line); margin: 0 -18px -16px; padding: 9px 18px; font-size: 13.5px; }
summary { cursor: pointer; color: var(--soft); }
details td, details th { padding: 5px 0; }
footer { color: var(--soft); font-size: 12.5px; margin-top: 28px; }
@media print { body { background: none; } article { break-inside: avoid; } }
""".strip()
