"""The tables pack: `table.profile`. docs/tool-packs/tables.md describes it.

The way of a table: `detect` (what is it?) → `staging` (bring it into columns, every row checked) → `kinds` (what does
each column hold, verified over all rows) → `figures` (one column at a time, so that memory stays bounded) → `report`.
DuckDB is imported only when a job runs.
"""

from __future__ import annotations

from jobyard.author import Pack

from jobyard_executor.tools.tables.profile import profile

PACK = Pack(name="tables", functions=(profile,))
