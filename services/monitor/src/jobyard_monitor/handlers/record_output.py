"""Packs of output become lines of the job log, and the last progress of each job.

Plain COPY: the offset moves in the same transaction, so a pack that is read twice is stored once. Only a producer
that sent twice leaves two rows, and readers take each number once; a unique key would cost half of the rate.
"""

from __future__ import annotations

from collections.abc import Sequence

from jobyard_common.contracts.output import OUTPUT, Stream
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.inbound import Inbound, Refused

from jobyard_monitor.domain.text import MAX_LINE, json_text, storable
from jobyard_monitor.domain.wire import ObservedLine, ObservedPack
from jobyard_monitor.handlers.accept import NotForUs, Unacceptable, data_of, head_of, plausible
from jobyard_monitor.store import job_output
from jobyard_monitor.store.job_output import LogRow, ProgressRow

TYPES = frozenset({OUTPUT})


async def record_output(connection: Connection, batch: list[Inbound]) -> Sequence[Refused]:
    lines: list[LogRow] = []
    progress: dict[str, ProgressRow] = {}
    refused: list[Refused] = []
    for record in batch:
        try:
            head_of(record, known=TYPES)
            pack = data_of(record, ObservedPack)
            for line in pack.lines:
                plausible(line.at)
        except NotForUs:
            continue
        except Unacceptable as error:
            refused.append(error.refusal(record))
            continue
        for line in pack.lines:
            if line.stream is Stream.PROGRESS:
                _keep_newest(progress, pack, line)
            else:
                lines.append(_row(pack, line))
    if lines:
        await job_output.add_lines(connection, lines)
    if progress:
        await job_output.put_progress(connection, [progress[job_id] for job_id in sorted(progress)])
    return refused


def _row(pack: ObservedPack, line: ObservedLine) -> LogRow:
    return (
        pack.tenant,
        pack.job_id,
        line.seq,
        line.at,
        pack.attempt,
        line.stream.value,
        line.level,
        storable(line.message, limit=MAX_LINE),
        json_text(line.fields),
        line.late,
    )


def _keep_newest(found: dict[str, ProgressRow], pack: ObservedPack, line: ObservedLine) -> None:
    known = found.get(pack.job_id)
    if known is None or known.seq < line.seq:
        text = json_text(line.fields) or "{}"
        found[pack.job_id] = ProgressRow(pack.job_id, pack.tenant, pack.attempt, line.seq, line.at, text)
