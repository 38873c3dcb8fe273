"""A job in the hand: its last known state, and what can be done with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jobyard.client.answers import Document
from jobyard.client.changing import given
from jobyard.client.models import TERMINAL, Event, JobData, JobError, JobResult, LogLine, Progress
from jobyard.client.operations import data_of

if TYPE_CHECKING:
    from jobyard.client.clients import AsyncClient, Client


class JobView:
    """The job as the server last told it; `data` is typed, `document` is the whole JSON object."""

    def __init__(self, document: Document) -> None:
        self._update(document)

    def _update(self, document: Document) -> None:
        self.data: JobData = data_of(document)
        self.document: Document = document

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.tool} {self.state}>"

    @property
    def id(self) -> str:
        return self.data.id

    @property
    def tool(self) -> str:
        return self.data.tool

    @property
    def state(self) -> str:
        return self.data.state

    @property
    def reason(self) -> str | None:
        return self.data.reason

    @property
    def error(self) -> JobError | None:
        return self.data.error

    @property
    def progress(self) -> Progress | None:
        return self.data.progress

    @property
    def attempt(self) -> int:
        return self.data.attempt

    @property
    def finished(self) -> bool:
        return self.data.state in TERMINAL

    @property
    def succeeded(self) -> bool:
        return self.data.state == "succeeded"

    @property
    def duplicate_of(self) -> str | None:
        """The job that holds the dedupe key of this one, which was superseded."""
        return self.document.get("duplicate_of")

    @property
    def cached_from(self) -> str | None:
        """The earlier job whose result answered for this one."""
        return self.document.get("cached_from")


class Job(JobView):
    def __init__(self, document: Document, client: Client) -> None:
        super().__init__(document)
        self._client = client

    def refresh(self) -> Job:
        self._update(self._client.jobs.get(self.id).document)
        return self

    def wait(self, *, timeout: float | None = None) -> Job:
        """Blocks until the job is finished, at most `timeout` seconds (WaitTimeout); returns this job, up to date."""
        self._update(self._client.drive(self._client.operations.wait(self.document, timeout_s=timeout)))
        return self

    def result(self) -> JobResult:
        """Raises JobNotFinished before the end."""
        return self._client.drive(self._client.operations.result(self.id))

    def cancel(self) -> Job:
        """Asks for the end of the job. Raises JobFinished after it."""
        self._update(self._client.drive(self._client.operations.act(self.id, "cancel")))
        return self

    def retry(self) -> Job:
        """Runs a failed, cancelled or expired job again, as a new job; ends the pause of one that waits to retry."""
        return Job(self._client.drive(self._client.operations.act(self.id, "retry")), self._client)

    def replay(self, *, parameters: Mapping[str, Any] | None = None) -> Job:
        """A new job from this finished one, with other parameters if given."""
        body = None if parameters is None else {"parameters": parameters}
        return Job(self._client.drive(self._client.operations.act(self.id, "replay", body)), self._client)

    def reschedule(self, *, run_at: datetime | str | None = None, delay_s: float | None = None) -> Job:
        """Moves a job that waits for its time: to `run_at`, or to `delay_s` from now."""
        body = given({"run_at": run_at, "delay_s": delay_s})
        self._update(self._client.drive(self._client.operations.act(self.id, "reschedule", body)))
        return self

    def follow(self, *, last_event_id: str | None = None) -> Iterator[Event]:
        """States, progress, log lines and the result as they happen; ends after `stream.end`. Survives cuts."""
        return self._client.iterate(self._client.operations.follow(self.id, last_event_id=last_event_id))

    def logs(self) -> Iterator[LogLine]:
        return self._client.jobs.logs(self.id)

    def explain(self) -> Document:
        """Why the job is in its state and what it waits for."""
        return self._client.drive(self._client.operations.explain(self.id))


class AsyncJob(JobView):
    def __init__(self, document: Document, client: AsyncClient) -> None:
        super().__init__(document)
        self._client = client

    async def refresh(self) -> AsyncJob:
        self._update((await self._client.jobs.get(self.id)).document)
        return self

    async def wait(self, *, timeout: float | None = None) -> AsyncJob:
        """Waits until the job is finished, at most `timeout` seconds (WaitTimeout); returns this job, up to date."""
        self._update(await self._client.drive(self._client.operations.wait(self.document, timeout_s=timeout)))
        return self

    async def result(self) -> JobResult:
        """Raises JobNotFinished before the end."""
        return await self._client.drive(self._client.operations.result(self.id))

    async def cancel(self) -> AsyncJob:
        """Asks for the end of the job. Raises JobFinished after it."""
        self._update(await self._client.drive(self._client.operations.act(self.id, "cancel")))
        return self

    async def retry(self) -> AsyncJob:
        """Runs a failed, cancelled or expired job again, as a new job; ends the pause of one that waits to retry."""
        return AsyncJob(await self._client.drive(self._client.operations.act(self.id, "retry")), self._client)

    async def replay(self, *, parameters: Mapping[str, Any] | None = None) -> AsyncJob:
        """A new job from this finished one, with other parameters if given."""
        body = None if parameters is None else {"parameters": parameters}
        return AsyncJob(await self._client.drive(self._client.operations.act(self.id, "replay", body)), self._client)

    async def reschedule(self, *, run_at: datetime | str | None = None, delay_s: float | None = None) -> AsyncJob:
        """Moves a job that waits for its time: to `run_at`, or to `delay_s` from now."""
        body = given({"run_at": run_at, "delay_s": delay_s})
        self._update(await self._client.drive(self._client.operations.act(self.id, "reschedule", body)))
        return self

    def follow(self, *, last_event_id: str | None = None) -> AsyncIterator[Event]:
        """States, progress, log lines and the result as they happen; ends after `stream.end`. Survives cuts."""
        return self._client.iterate(self._client.operations.follow(self.id, last_event_id=last_event_id))

    def logs(self) -> AsyncIterator[LogLine]:
        return self._client.jobs.logs(self.id)

    async def explain(self) -> Document:
        """Why the job is in its state and what it waits for."""
        return await self._client.drive(self._client.operations.explain(self.id))
