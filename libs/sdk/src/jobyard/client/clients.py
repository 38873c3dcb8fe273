"""`Client` and `AsyncClient`: the same methods, one awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

from jobyard.client import bulk, dead_letters, queues, resources, schedules, workflows
from jobyard.client.aio import AsyncDriver
from jobyard.client.answers import Document
from jobyard.client.batches import BatchItem
from jobyard.client.effects import Flow
from jobyard.client.job import AsyncJob, Job
from jobyard.client.operations import Operations, settings
from jobyard.client.retrying import Policy
from jobyard.client.sync import SyncDriver

T = TypeVar("T")


class Client:
    """A Jobyard server. Without arguments it finds one as the command line does (`jobyard.client.config`).

    `timeout_s` is for each exchange; `policy` says how often and how long to try again; `resume=False` keeps no
    memory of half-done uploads on disk. One thread at a time per iteration; otherwise safe to share.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        resume: bool = True,
    ) -> None:
        found = settings(url=url, api_key=api_key, policy=policy, resume=resume)
        self.server = found.server
        self.operations = Operations(found)
        self._driver = SyncDriver(found.server, timeout_s=timeout_s)
        self.jobs = resources.Jobs(self)
        self.files = resources.Files(self)
        self.tools = resources.Tools(self)
        self.schedules = schedules.Schedules(self)
        self.workflows = workflows.Workflows(self)
        self.runs = workflows.Runs(self)
        self.bulk = bulk.Bulk(self)
        self.dead_letters = dead_letters.DeadLetters(self)
        self.dead_messages = dead_letters.DeadMessages(self)
        self.queues = queues.Queues(self)
        self.limits = queues.Limits(self)
        self.workers = queues.Workers(self)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._driver.close()

    def drive(self, flow: Flow[T]) -> T:
        return self._driver.run(flow)

    def iterate(self, flow: Flow[None]) -> Iterator[Any]:
        return self._driver.iterate(flow)

    def submit(
        self,
        tool: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        files: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Job:
        """Submit a job. `files` maps slots to file ids; `options` are the fields of the submit document: `queue`,
        `priority`, `delay_s`, `timeout_s`, `retry`, `tags`, `metadata`, ….

        Parameters that are too large for a submit (256 KiB) are uploaded as a file, which the job reads in their
        place, up to 16 MiB. With a key of your own, upload that file once yourself: another file is another submit.

        A lost answer is no second job: each submit carries an idempotency key, minted unless given. Where the outcome
        stays unknown the error holds that key.
        """
        flow = self.operations.submit(
            tool, parameters=parameters, files=files, idempotency_key=idempotency_key, options=options
        )
        return Job(self.drive(flow), self)

    def submit_many(self, items: Iterable[Mapping[str, Any]]) -> list[BatchItem]:
        """Submit many jobs, up to 1,000 a request; each item is a submit document, with `idempotency_key` if you have
        one. The outcomes come in the same order: a refused item stops no other."""
        return self.drive(self.operations.submit_many(items))

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        body: object | None = None,
        safe: bool | None = None,
    ) -> Document:
        """Any call of the API that answers with a JSON object; `safe` says that repeating it does no harm."""
        return self.drive(self.operations.request(method, path, params=params or {}, body=body, safe=safe))

    def system(self) -> Document:
        """Status of the services."""
        return self.request("GET", "/v1/system")


class AsyncClient:
    """The same as `Client`, for asyncio."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        resume: bool = True,
    ) -> None:
        found = settings(url=url, api_key=api_key, policy=policy, resume=resume)
        self.server = found.server
        self.operations = Operations(found)
        self._driver = AsyncDriver(found.server, timeout_s=timeout_s)
        self.jobs = resources.AsyncJobs(self)
        self.files = resources.AsyncFiles(self)
        self.tools = resources.AsyncTools(self)
        self.schedules = schedules.AsyncSchedules(self)
        self.workflows = workflows.AsyncWorkflows(self)
        self.runs = workflows.AsyncRuns(self)
        self.bulk = bulk.AsyncBulk(self)
        self.dead_letters = dead_letters.AsyncDeadLetters(self)
        self.dead_messages = dead_letters.AsyncDeadMessages(self)
        self.queues = queues.AsyncQueues(self)
        self.limits = queues.AsyncLimits(self)
        self.workers = queues.AsyncWorkers(self)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._driver.aclose()

    async def drive(self, flow: Flow[T]) -> T:
        return await self._driver.run(flow)

    def iterate(self, flow: Flow[None]) -> AsyncIterator[Any]:
        return self._driver.iterate(flow)

    async def submit(
        self,
        tool: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        files: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> AsyncJob:
        """As `Client.submit`."""
        flow = self.operations.submit(
            tool, parameters=parameters, files=files, idempotency_key=idempotency_key, options=options
        )
        return AsyncJob(await self.drive(flow), self)

    async def submit_many(self, items: Iterable[Mapping[str, Any]]) -> list[BatchItem]:
        """As `Client.submit_many`."""
        return await self.drive(self.operations.submit_many(items))

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        body: object | None = None,
        safe: bool | None = None,
    ) -> Document:
        """As `Client.request`."""
        return await self.drive(self.operations.request(method, path, params=params or {}, body=body, safe=safe))

    async def system(self) -> Document:
        """Status of the services."""
        return await self.request("GET", "/v1/system")
