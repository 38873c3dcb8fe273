"""What running tools report: lines on their way to Kafka, the last progress on its way to the lease row."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
from jobyard_common.db.connection import Pool
from jobyard_common.db.deadline import within
from jobyard_common.db.errors import is_retryable
from jobyard_common.telemetry.logging import get_logger

from jobyard_executor.domain.assignment import OutputBatch
from jobyard_executor.domain.progress import last_progress
from jobyard_executor.handlers.claim import Held
from jobyard_executor.outbound.output_pump import OutputPump
from jobyard_executor.store import sessions

log = get_logger("reports")
SAVE_EVERY_S = 0.5


def pass_on(batches: Sequence[OutputBatch], held: Mapping[tuple[str, int], Held], pump: OutputPump) -> None:
    """Hand lines to the pump; those of an attempt that has ended are kept, too, and marked late."""
    for batch in batches:
        mine = held.get((batch.job_id, batch.fence))
        if mine is None:
            lines = tuple(msgspec.structs.replace(line, late=True) for line in batch.lines)
            pump.add(msgspec.structs.replace(batch, lines=lines), correlation_id="", traceparent="")
            continue
        if batch.lines:
            mine.last_seq = max(mine.last_seq, batch.lines[-1].seq)
            mine.progress = last_progress(batch.lines) or mine.progress
        pump.add(batch, correlation_id=mine.job.correlation_id, traceparent=mine.assignment.traceparent)


async def save_progress(pool: Pool, held: Mapping[tuple[str, int], Held]) -> None:
    """Twice a second, for ever, in one statement for all attempts whose progress has moved."""
    while True:
        await asyncio.sleep(SAVE_EVERY_S)
        fresh = [mine for mine in held.values() if mine.progress and mine.progress is not mine.progress_stored]
        if not fresh:
            continue
        rows = [(mine.job.job_id, mine.assignment.fence, mine.progress or "") for mine in fresh]
        try:
            await within(pool, partial(sessions.store_progress, rows=rows), timeout_s=5.0)
        except Exception as error:
            if not is_retryable(error):
                raise
            log.warning("progress.unsaved", error=f"{type(error).__name__}: {error}"[:200])
            continue
        for mine, row in zip(fresh, rows, strict=True):
            mine.progress_stored = row[2]
