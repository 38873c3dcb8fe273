"""Records of the topic `logs`: log lines of services by COPY, and the last heartbeat of each instance."""

from __future__ import annotations

from collections.abc import Sequence

from jobyard_common.contracts.telemetry import HEARTBEAT, LOG_RECORDS
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.inbound import Inbound, Refused
from jobyard_common.telemetry import metrics

from jobyard_monitor.domain.fingerprint import fingerprint
from jobyard_monitor.domain.severity import ERROR, severity_of
from jobyard_monitor.domain.text import MAX_EXCEPTION, MAX_MESSAGE, json_text, storable
from jobyard_monitor.domain.wire import ObservedBeat, ObservedRecord, ObservedRecords
from jobyard_monitor.handlers.accept import NotForUs, Unacceptable, data_of, head_of, plausible
from jobyard_monitor.store import service_logs, services
from jobyard_monitor.store.service_logs import LogRow

TYPES = frozenset({HEARTBEAT, LOG_RECORDS})
MAX_EVENT = 256


async def record_logs(connection: Connection, batch: list[Inbound]) -> Sequence[Refused]:
    rows: list[LogRow] = []
    beats: dict[tuple[str, str], ObservedBeat] = {}
    refused: list[Refused] = []
    for record in batch:
        try:
            if head_of(record, known=TYPES).type == HEARTBEAT:
                _keep_newest(beats, _beat(record))
            else:
                rows += _rows(record)
        except NotForUs:
            continue
        except Unacceptable as error:
            refused.append(error.refusal(record))
    if rows:
        await service_logs.add(connection, rows)
        metrics.LOG_RECORDS.inc(len(rows))
    if beats:
        await services.put(connection, [beats[key] for key in sorted(beats)])
    return refused


def _beat(record: Inbound) -> ObservedBeat:
    beat = data_of(record, ObservedBeat)
    plausible(beat.at)
    plausible(beat.started_at)
    return beat


def _keep_newest(found: dict[tuple[str, str], ObservedBeat], beat: ObservedBeat) -> None:
    key = (beat.service, beat.instance)
    if key not in found or found[key].at < beat.at:
        found[key] = beat


def _rows(record: Inbound) -> list[LogRow]:
    found = data_of(record, ObservedRecords).records
    for one in found:
        plausible(one.at)
    return [_row(record, index, one) for index, one in enumerate(found)]


def _row(record: Inbound, index: int, one: ObservedRecord) -> LogRow:
    severity = severity_of(one.level)
    event = storable(one.event, limit=MAX_EVENT)
    exception = storable(one.exception, limit=MAX_EXCEPTION)
    kind = None
    if severity >= ERROR:
        kind = fingerprint(service=one.service, logger=one.logger, event=event, exception=exception)
    return (
        one.at,
        record.partition,
        record.offset,
        index,
        one.tenant or "",
        one.service,
        one.instance,
        one.level.lower(),
        severity,
        event,
        storable(one.message, limit=MAX_MESSAGE),
        one.logger,
        one.trace_id,
        one.span_id,
        one.correlation_id,
        one.job_id,
        exception,
        kind,
        json_text(one.fields),
    )
