"""`client.jobs`, `client.files` and `client.tools`, blocking and awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobyard.client.job import AsyncJob, Job
from jobyard.client.models import Event, File, JobResult, LogLine, Tool
from jobyard.client.operations import file_of, line_of, tool_of
from jobyard.client.uploading import Progress

if TYPE_CHECKING:
    from jobyard.client.clients import AsyncClient, Client


class Jobs:
    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, job_id: str, *, min_version: int | None = None) -> Job:
        return Job(self._client.drive(self._client.operations.job(job_id, min_version=min_version)), self._client)

    def list(self, *, max_items: int | None = None, **filters: Any) -> Iterator[Job]:
        """Newest first, over all pages. Filters: `state`, `tool`, `queue`, `tag` (one or a list of them), `metadata`
        (a mapping), `correlation_id`, `created_after`, `created_before`, `parent_id`, `schedule_id`,
        `workflow_id` (a run); `limit` is the page size."""
        for row in self._client.iterate(self._client.operations.job_list(filters, max_items=max_items)):
            yield Job(row, self._client)

    def follow(self, *, last_event_id: str | None = None, **filters: Any) -> Iterator[Event]:
        """What happens to every job that the filters of `list` fit, without an end; survives cuts.

        The data of a `job.state` holds `type`, `at`, `actor`, `incarnation`, `event_no` and the `job` after it. A
        reader that falls behind gets the last event of each job. `stream.gap` says that older events are gone.
        """
        return self._client.iterate(self._client.operations.follow_all(filters, last_event_id=last_event_id))

    def result(self, job_id: str) -> JobResult:
        return self._client.drive(self._client.operations.result(job_id))

    def logs(self, job_id: str) -> Iterator[LogLine]:
        for row in self._client.iterate(self._client.operations.logs(job_id)):
            yield line_of(row)


class AsyncJobs:
    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, job_id: str, *, min_version: int | None = None) -> AsyncJob:
        document = await self._client.drive(self._client.operations.job(job_id, min_version=min_version))
        return AsyncJob(document, self._client)

    async def list(self, *, max_items: int | None = None, **filters: Any) -> AsyncIterator[AsyncJob]:
        """As `Jobs.list`."""
        async for row in self._client.iterate(self._client.operations.job_list(filters, max_items=max_items)):
            yield AsyncJob(row, self._client)

    def follow(self, *, last_event_id: str | None = None, **filters: Any) -> AsyncIterator[Event]:
        """As `Jobs.follow`."""
        return self._client.iterate(self._client.operations.follow_all(filters, last_event_id=last_event_id))

    async def result(self, job_id: str) -> JobResult:
        return await self._client.drive(self._client.operations.result(job_id))

    async def logs(self, job_id: str) -> AsyncIterator[LogLine]:
        async for row in self._client.iterate(self._client.operations.logs(job_id)):
            yield line_of(row)


class Files:
    def __init__(self, client: Client) -> None:
        self._client = client

    def upload(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        content_type: str | None = None,
        progress: Progress | None = None,
    ) -> File:
        """Upload a file; a cut connection or a killed process is continued, not begun anew.

        `progress(done, total)` is called with byte counts. Raises InvalidArgument for what is no regular file,
        UploadChanged, ContentMismatch, OSError.
        """
        flow = self._client.operations.upload(Path(path), name=name, content_type=content_type, progress=progress)
        return self._client.drive(flow)

    def download(self, file_id: str, path: str | Path, *, progress: Progress | None = None) -> File:
        """Write the content to `path`, which appears only when whole and checked. Raises ContentMismatch, OSError."""
        return self._client.drive(self._client.operations.download(file_id, Path(path), progress=progress))

    def get(self, file_id: str) -> File:
        return self._client.drive(self._client.operations.file(file_id))

    def list(self, *, max_items: int | None = None, **filters: Any) -> Iterator[File]:
        for row in self._client.iterate(self._client.operations.file_list(filters, max_items=max_items)):
            yield file_of(row)

    def delete(self, file_id: str) -> None:
        self._client.drive(self._client.operations.delete_file(file_id))


class AsyncFiles:
    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def upload(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        content_type: str | None = None,
        progress: Progress | None = None,
    ) -> File:
        """As `Files.upload`; `progress` is called on the event loop."""
        flow = self._client.operations.upload(Path(path), name=name, content_type=content_type, progress=progress)
        return await self._client.drive(flow)

    async def download(self, file_id: str, path: str | Path, *, progress: Progress | None = None) -> File:
        """As `Files.download`."""
        return await self._client.drive(self._client.operations.download(file_id, Path(path), progress=progress))

    async def get(self, file_id: str) -> File:
        return await self._client.drive(self._client.operations.file(file_id))

    async def list(self, *, max_items: int | None = None, **filters: Any) -> AsyncIterator[File]:
        async for row in self._client.iterate(self._client.operations.file_list(filters, max_items=max_items)):
            yield file_of(row)

    async def delete(self, file_id: str) -> None:
        await self._client.drive(self._client.operations.delete_file(file_id))


class Tools:
    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, name: str) -> Tool:
        return self._client.drive(self._client.operations.tool(name))

    def list(self, *, max_items: int | None = None) -> Iterator[Tool]:
        for row in self._client.iterate(self._client.operations.tool_list(max_items=max_items)):
            yield tool_of(row)


class AsyncTools:
    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, name: str) -> Tool:
        return await self._client.drive(self._client.operations.tool(name))

    async def list(self, *, max_items: int | None = None) -> AsyncIterator[Tool]:
        async for row in self._client.iterate(self._client.operations.tool_list(max_items=max_items)):
            yield tool_of(row)
