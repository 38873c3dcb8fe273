"""The client of Jobyard's HTTP interface, for scripts (`Client`) and for asyncio (`AsyncClient`)."""

from __future__ import annotations

from jobyard.client.clients import AsyncClient, Client
from jobyard.client.job import AsyncJob, Job
from jobyard.client.models import (
    Event,
    File,
    JobData,
    JobError,
    JobResult,
    JobState,
    LogLine,
    OutputFile,
    Progress,
    Tool,
)
from jobyard.client.retrying import Backoff, Policy

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Backoff",
    "Client",
    "Event",
    "File",
    "Job",
    "JobData",
    "JobError",
    "JobResult",
    "JobState",
    "LogLine",
    "OutputFile",
    "Policy",
    "Progress",
    "Tool",
]
