"""Events of jobs become the timeline and the newest state of each job."""

from __future__ import annotations

from collections.abc import Sequence

from jobyard_common.contracts.jobs import EVENT_VERBS, event_type
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.inbound import Inbound, Refused
from jobyard_common.runtime.crash import crash

from jobyard_monitor.domain.wire import ObservedJob
from jobyard_monitor.handlers.accept import NotForUs, Unacceptable, data_of, head_of, plausible
from jobyard_monitor.store import job_events
from jobyard_monitor.store.job_events import Observed

TYPES = frozenset(event_type(verb) for verb in EVENT_VERBS)


async def project_jobs(connection: Connection, batch: list[Inbound]) -> Sequence[Refused]:
    """Duplicates, old events and gaps are harmless: rows are keyed by (job, incarnation, event_no)."""
    rows: list[Observed] = []
    refused: list[Refused] = []
    for record in batch:
        try:
            rows.append(_observed(record))
        except NotForUs:
            continue
        except Unacceptable as error:
            refused.append(error.refusal(record))
    if rows:
        crash("K13")
        await job_events.add_steps(connection, rows)
        await job_events.put_states(connection, newest(rows))
        crash("K13")
    return refused


def _observed(record: Inbound) -> Observed:
    envelope = head_of(record, known=TYPES)
    event = data_of(record, ObservedJob)
    plausible(event.job.created_at)
    return Observed(envelope.time, envelope.type, event)


def newest(rows: Sequence[Observed]) -> list[Observed]:
    """The last event of each job, sorted by job: the order in which rows are locked."""
    found: dict[str, Observed] = {}
    for row in rows:
        known = found.get(row.event.job.id)
        if known is None or _number(known) < _number(row):
            found[row.event.job.id] = row
    return [found[job_id] for job_id in sorted(found)]


def _number(row: Observed) -> tuple[int, int]:
    return row.event.incarnation, row.event.event_no
