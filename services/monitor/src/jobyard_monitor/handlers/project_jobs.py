"""Events of jobs become their stories and the newest state of each job."""

from __future__ import annotations

from collections.abc import Sequence

from jobyard_common.contracts.jobs import EVENT_VERBS, event_type
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.inbound import Inbound, Refused
from jobyard_common.runtime.crash import crash

from jobyard_monitor.domain.observed import Observed, stories
from jobyard_monitor.domain.wire import ObservedJob
from jobyard_monitor.handlers.accept import NotForUs, Unacceptable, data_of, head_of, plausible
from jobyard_monitor.store import chapters, job_events

VERBS = {event_type(verb): verb for verb in EVENT_VERBS}


async def project_jobs(connection: Connection, batch: list[Inbound]) -> Sequence[Refused]:
    """Duplicates, old events and gaps are harmless: steps and states are known by (job, incarnation, event_no)."""
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
        told = stories(rows)
        crash("K13")
        await chapters.add(connection, told)
        await job_events.put_states(connection, told)
        crash("K13")
    return refused


def _observed(record: Inbound) -> Observed:
    head = head_of(record, known=VERBS)
    event = data_of(record, ObservedJob)
    plausible(event.job.created_at)
    return Observed(head.time, VERBS[head.type], event)
