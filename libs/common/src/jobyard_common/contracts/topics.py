"""Every topic: its key, who writes it, who reads it and how long it is kept.

The table in `docs/architecture.md` and the AsyncAPI document are generated from this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Topic:
    """One topic. `retention` None means compacted: the last record of each key stays for ever."""

    name: str
    key: str
    partitions: int
    retention: timedelta | None
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    meaning: str


DAY = timedelta(days=1)
JOBS_INTAKE = Topic(
    "jobs.intake", "any", 6, 7 * DAY, ("outside producers",), ("gateway",), "Submits of producers that speak Kafka."
)
JOBS_COMMANDS = Topic(
    "jobs.commands", "job id", 12, 7 * DAY, ("gateway",), ("executor",), "Accepted commands: the promise behind a 202."
)
JOBS_EVENTS = Topic(
    "jobs.events",
    "job id",
    12,
    7 * DAY,
    ("executor",),
    ("gateway", "monitor", "files", "anyone"),
    "Every change of a job's state, with the whole job in each event.",
)
JOBS_OUTPUT = Topic(
    "jobs.output",
    "job id",
    6,
    DAY,
    ("executor",),
    ("monitor", "gateway"),
    "Lines and progress of running jobs, packed.",
)
TOOLS = Topic(
    "tools",
    "tool@version",
    1,
    None,
    ("executor",),
    ("gateway", "monitor"),
    "The tool registry: one definition a version.",
)
FILES_COMMANDS = Topic("files.commands", "file id", 3, 7 * DAY, ("gateway", "executor"), ("files",), "Orders to files.")
FILES_EVENTS = Topic(
    "files.events", "file id", 3, 7 * DAY, ("files",), ("executor", "monitor", "gateway"), "What became of a file."
)
ALERTS_EVENTS = Topic("alerts.events", "alert id", 3, 7 * DAY, ("monitor",), ("gateway", "anyone"), "Alerts' lives.")
LOGS = Topic(
    "logs",
    "service instance",
    3,
    DAY,
    ("all services", "outside producers"),
    ("monitor",),
    "Service logs and heartbeats, packed.",
)
FLAGS = Topic("flags", "flag key", 1, None, ("gateway",), ("all services",), "Feature flags.")
AUDIT = Topic(
    "audit", "tenant", 3, 30 * DAY, ("gateway", "executor", "files", "monitor"), ("monitor",), "Who did what to what."
)

ALL = (
    JOBS_INTAKE,
    JOBS_COMMANDS,
    JOBS_EVENTS,
    JOBS_OUTPUT,
    TOOLS,
    FILES_COMMANDS,
    FILES_EVENTS,
    ALERTS_EVENTS,
    LOGS,
    FLAGS,
    AUDIT,
)
DLT_RETENTION = 30 * DAY
DLT_PARTITIONS = 3


def topic_name(topic: Topic | str, *, prefix: str) -> str:
    """The name on the broker: the one place where the prefix of a deployment is applied."""
    return prefix + (topic if isinstance(topic, str) else topic.name)


def dlt(topic: Topic | str) -> str:
    """The dead-letter topic that belongs to a topic, unprefixed."""
    return f"{topic if isinstance(topic, str) else topic.name}.dlt"
