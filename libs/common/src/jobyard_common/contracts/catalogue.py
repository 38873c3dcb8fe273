"""Every message type: its name on the wire, its shape, its topic. Documents and schema checks are made from this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobyard_common.contracts import files, jobs, output, telemetry, tools, topics, workflows
from jobyard_common.contracts.topics import Topic


@dataclass(frozen=True)
class Message:
    shape: type[Any]
    type: str
    topic: Topic
    meaning: str


MESSAGES: tuple[Message, ...] = (
    Message(jobs.SubmitJob, jobs.SUBMIT, topics.JOBS_COMMANDS, "Make a job."),
    Message(jobs.CancelJob, jobs.CANCEL, topics.JOBS_COMMANDS, "Cancel a job, whatever it does."),
    Message(jobs.RetryJob, jobs.RETRY, topics.JOBS_COMMANDS, "Run a job again, or end its pause."),
    Message(jobs.ReplayJob, jobs.REPLAY, topics.JOBS_COMMANDS, "Run a finished job again as a new one."),
    Message(jobs.RescheduleJob, jobs.RESCHEDULE, topics.JOBS_COMMANDS, "Move the time of a job that waits for it."),
    Message(workflows.StartRun, workflows.START_RUN, topics.JOBS_COMMANDS, "Make a run of a workflow."),
    Message(workflows.CancelRun, workflows.CANCEL_RUN, topics.JOBS_COMMANDS, "Cancel all of a run."),
    Message(workflows.RetryRun, workflows.RETRY_RUN, topics.JOBS_COMMANDS, "Run a finished run again as a new one."),
    *(
        Message(jobs.JobEvent, jobs.event_type(verb), topics.JOBS_EVENTS, f"A job is now {verb.replace('_', ' ')}.")
        for verb in jobs.EVENT_VERBS
    ),
    Message(output.OutputPack, output.OUTPUT, topics.JOBS_OUTPUT, "Lines and progress of one attempt."),
    Message(tools.ToolDefinition, tools.TOOL_DEFINED, topics.TOOLS, "A version of a tool, as an executor offers it."),
    *(
        Message(files.FileEvent, files.event_type(verb), topics.FILES_EVENTS, f"A file was {verb}.")
        for verb in files.FILE_VERBS
    ),
    Message(telemetry.Heartbeat, telemetry.HEARTBEAT, topics.LOGS, "A service instance lives."),
    Message(telemetry.LogRecords, telemetry.LOG_RECORDS, topics.LOGS, "What a service logged."),
    Message(telemetry.AuditEntry, telemetry.AUDIT_ENTRY, topics.AUDIT, "Somebody did something, or was refused."),
)
