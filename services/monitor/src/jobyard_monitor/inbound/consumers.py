"""The topics that monitor reads, and what it makes of each."""

from __future__ import annotations

from collections.abc import Callable

from jobyard_common.contracts import topics
from jobyard_common.db.connection import Pool
from jobyard_common.messaging.consumer import Apply, ConsumerLoop
from jobyard_common.messaging.following import Follower
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.telemetry.tracing import Tracer

from jobyard_monitor.handlers.project_files import project_files
from jobyard_monitor.handlers.project_jobs import project_jobs
from jobyard_monitor.handlers.record_audit import record_audit
from jobyard_monitor.handlers.record_logs import record_logs
from jobyard_monitor.handlers.record_output import record_output

GROUP = "monitor"
# A read model may be a second late under load; batches grow with it, and the events of a job meet in one.
PACE_S, LONGEST_S = 0.1, 0.5
READS: tuple[tuple[topics.Topic, Apply, int], ...] = (
    (topics.JOBS_EVENTS, project_jobs, 3000),
    (topics.JOBS_OUTPUT, record_output, 500),
    (topics.FILES_EVENTS, project_files, 500),
    (topics.LOGS, record_logs, 500),
    (topics.AUDIT, record_audit, 500),
)
"""Topic, use case, most records in one transaction."""


def consumers(
    kafka: KafkaSettings, *, pool: Pool, tracer: Tracer, instance_id: str, wake_relay: Callable[[], None]
) -> list[ConsumerLoop]:
    return [
        Follower(
            kafka,
            topic=topic,
            group=GROUP,
            instance_id=instance_id,
            pool=pool,
            apply=apply,
            tracer=tracer,
            max_records=most,
            after_commit=wake_relay,
            pace_s=PACE_S,
            longest_s=LONGEST_S,
        )
        for topic, apply, most in READS
    ]
