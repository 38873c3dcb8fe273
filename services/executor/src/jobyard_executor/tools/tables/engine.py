"""DuckDB with bounded memory, no way to the network, and an ear for the job's cancellation."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

import duckdb
from jobyard.author import Context, ToolError

MEMORY = "512MB"
SPILL = "50GB"
LOOK_EVERY_S = 0.1

Row = tuple[Any, ...]


class Engine:
    """One in-memory database in the job's work dir. Its queries run on a thread, so that a stop interrupts them."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.folder = ctx.work_dir / "table"
        self.folder.mkdir(exist_ok=True)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="duckdb")
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": 1,
                # With them, DuckDB 2.0.0 hangs for ever when a COPY is interrupted: its file writer's destructor
                # waits for a write that waits for the destructor's lock.
                "async_threads": 0,
                "memory_limit": MEMORY,
                "temp_directory": str(self.folder / "spill"),
                "max_temp_directory_size": SPILL,
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
                "allow_unsigned_extensions": False,
                "python_enable_replacements": False,
            },
        )

    def rows(
        self, sql: str, parameters: Sequence[Any] = (), *, on_share: Callable[[float], None] | None = None
    ) -> list[Row]:
        """The rows of a query. `on_share` hears how much of it is done, from 0 to 1.

        Raises ToolError `resource_exhausted` for memory or disk, `duckdb.Error` for the rest, and `Stop`.
        """
        future = self._thread.submit(self._execute, sql, parameters)
        try:
            while not wait([future], timeout=LOOK_EVERY_S).done:
                self._ctx.check()
                if on_share is not None:
                    on_share(min(max(self._connection.query_progress() / 100, 0.0), 1.0))
            return future.result()
        except BaseException:
            self._connection.interrupt()
            wait([future])
            raise

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> Row:
        """The only row of a query."""
        (row,) = self.rows(sql, parameters)
        return row

    def _execute(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        try:
            return self._connection.execute(sql, list(parameters)).fetchall()
        except (duckdb.OutOfMemoryException, MemoryError):
            raise ToolError(
                f"The table needs more than {MEMORY} of memory or {SPILL} of disk.",
                code="resource_exhausted",
                retryable=False,
            ) from None

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        self._connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
