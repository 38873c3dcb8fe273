"""Every metric: name, labels, meaning. One registry a process; no label ever holds an id of a job, user or trace."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LONG = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400)


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(f"jobyard_{name}", meaning, labels, registry=REGISTRY)


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    return Gauge(f"jobyard_{name}", meaning, labels, registry=REGISTRY)


def _histogram(name: str, meaning: str, *labels: str, buckets: tuple[float, ...] = _FAST) -> Histogram:
    return Histogram(f"jobyard_{name}", meaning, labels, registry=REGISTRY, buckets=buckets)


HTTP_DURATION = _histogram("http_request_duration_seconds", "Time to answer a request.", "method", "route", "status")
CONSUMED = _counter("consumed_records", "Records applied, by topic.", "topic")
DEAD_LETTERS = _counter("dead_letters", "Records refused, by topic and reason.", "topic", "reason")
OUTBOX_PENDING = _gauge("outbox_pending_seconds", "Age of the oldest record that waits to be published.")
JOBS_SUBMITTED = _counter("jobs_submitted", "Jobs that were answered with 202, by way in.", "way")
JOBS_FINISHED = _counter("jobs_finished", "Jobs that reached a terminal state.", "tool", "outcome")
JOB_RETRIES = _counter("job_retries", "Attempts that were followed by another one.", "reason")
JOB_WAIT = _histogram("job_queue_wait_seconds", "From queued to started.", "queue")
JOB_RUN = _histogram("job_run_seconds", "From started to finished.", "tool", buckets=_LONG)
JOBS_RUNNING = _gauge("jobs_running", "Attempts that run in this process's workers.")
QUEUE_DEPTH = _gauge("queue_depth", "Jobs that could start now.", "queue")
QUEUE_OLDEST = _gauge("queue_oldest_age_seconds", "How long the first of a queue has waited.", "queue")
STALE_WRITES = _counter("stale_writes_rejected", "Outcomes that came under a fence no longer current.")
OUTPUT_DROPPED = _counter("output_lines_dropped", "Output lines given up, by reason.", "reason")
LOG_RECORDS = _counter("log_records_ingested", "Log records stored.")
LOG_DROPPED = _counter("log_records_dropped", "Log records given up, by reason.", "reason")
PARTITION_STOPPED = _gauge(
    "kafka_partition_stopped", "1 while a partition is not read: Kafka lost records.", "topic", "partition"
)
PARTITION_HELD = _gauge(
    "kafka_partition_held", "1 while the next record of a partition has to wait for others.", "topic", "partition"
)
RECORDS_EXPIRED = _counter("records_expired_unread", "Records that Kafka removed before they were applied.", "topic")
CONSUMER_LAG = _gauge("kafka_consumer_lag_records", "Records not applied yet.", "topic", "partition")
UPLOADED_BYTES = _counter("uploaded_bytes", "Bytes received by uploads.")
STREAMS_OPEN = _gauge("streams_open", "Event streams that clients hold open.")
BUILD = _gauge("build_info", "Constant 1 with the version of the service.", "service", "version")


def render() -> bytes:
    """The registry in Prometheus' text format."""
    return generate_latest(REGISTRY)
