"""Jobs: reads, and the verbs that change them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec
from fastapi import Request
from jobyard_common.contracts.wire import OptionalRaw, milliseconds, utc_now
from jobyard_common.http.context import current
from starlette.responses import Response

from jobyard_gateway.documents import schemas as doc
from jobyard_gateway.documents.shapes import operation
from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.domain.queries import Pairs, integer, job_count_faults, job_list_faults, page_faults
from jobyard_gateway.domain.submission import TEN_YEARS_S, Delay, Moment
from jobyard_gateway.handlers.follow_job import Streams
from jobyard_gateway.handlers.read_jobs import JobReader
from jobyard_gateway.handlers.steer_job import Steering
from jobyard_gateway.handlers.submit_job import refused
from jobyard_gateway.handlers.trace_page import trace_of
from jobyard_gateway.inbound.http.bodies import json_body
from jobyard_gateway.inbound.http.routing import Endpoint, json_answer, wants_stream
from jobyard_gateway.inbound.http.streams import stream_answer
from jobyard_gateway.outbound.answers import Answer
from jobyard_gateway.outbound.monitor import Monitor

TAG = "jobs"
READ, WRITE = Permission.JOBS_READ, Permission.JOBS_WRITE


class _ReplayBody(msgspec.Struct, forbid_unknown_fields=True):
    parameters: OptionalRaw = None


class _RescheduleBody(msgspec.Struct, forbid_unknown_fields=True):
    run_at: Moment | None = None
    delay_s: Delay | None = None

    def moment(self, *, now: datetime) -> datetime:
        """Raises Problem."""
        if (self.run_at is None) == (self.delay_s is None):
            raise refused([Fault("/run_at", "Give run_at or delay_s.")])
        wanted = self.run_at or now + timedelta(seconds=self.delay_s or 0)
        if wanted > now + timedelta(seconds=TEN_YEARS_S):
            raise refused([Fault("/run_at", "At most 10 years ahead.")])
        return milliseconds(wanted)


class JobRoutes:
    def __init__(
        self, reader: JobReader, steering: Steering, streams: Streams, monitor: Monitor, *, trace_url: str | None
    ) -> None:
        self._reader = reader
        self._steering = steering
        self._streams = streams
        self._monitor = monitor
        self._trace_url = trace_url

    def endpoints(self) -> list[Endpoint]:
        def read(
            path: str, handler: Callable[[Request, Principal], Awaitable[Response]], summary: str, **more: object
        ) -> Endpoint:
            return Endpoint("GET", path, READ, handler, summary, TAG, operation(**more))  # type: ignore[arg-type]

        def verb(
            name: str, handler: Callable[[Request, Principal], Awaitable[Response]], summary: str, **more: object
        ) -> Endpoint:
            path = f"/v1/jobs/{{job_id}}/{name}"
            return Endpoint("POST", path, WRITE, handler, summary, TAG, operation(ok=(202, "Job"), **more))  # type: ignore[arg-type]

        one = "/v1/jobs/{job_id}"
        return [
            read(
                "/v1/jobs",
                self.list,
                "List jobs, newest first",
                ok=(200, "JobPage"),
                parameters=doc.JOB_FILTERS + doc.PAGING + doc.COUNT,
            ),
            read("/v1/jobs/counts", self.counts, "Count jobs by state", ok=(200, "Counts"), parameters=doc.JOB_FILTERS),
            read(one, self.get, "Get a job", ok=(200, "Job"), parameters=doc.MIN_VERSION),
            read(f"{one}/result", self.result, "Get the result of a finished job", ok=(200, "Result")),
            read(f"{one}/attempts", self.attempts, "List the attempts of a job", ok=(200, "AttemptPage")),
            read(f"{one}/explain", self.explain, "Why is the job where it is?", ok=(200, "Explanation")),
            read(
                f"{one}/events",
                self.events,
                "The lifecycle of a job, or its live stream (SSE)",
                ok=(200, "LifecyclePage"),
                stream=True,
            ),
            read(
                f"{one}/logs",
                self.logs,
                "Log lines of a job, or their live stream (SSE)",
                ok=(200, "LogPage"),
                stream=True,
                parameters=doc.PAGING,
            ),
            read(
                f"{one}/timeline", self.timeline, "Everything that happened to a job, across services", ok=(200, "Page")
            ),
            read(f"{one}/trace", self.trace, "Where the trace of a job is", ok=(200, "Trace")),
            verb("cancel", self.cancel, "Cancel a job"),
            verb("retry", self.retry, "Retry a job now, or run a finished one again"),
            verb("replay", self.replay, "Run a finished job again as a new one", body="Replay"),
            verb("reschedule", self.reschedule, "Change when a scheduled job runs", body="Reschedule"),
        ]

    async def get(self, request: Request, principal: Principal) -> Response:
        pairs = request.query_params.multi_items()
        version = None
        for name, value in pairs:
            if name != "min_version" or version is not None:
                raise refused([Fault(name[:128], "Unknown parameter.")])
            version = integer(value, most=2**31 - 1)
            if version is None:
                raise refused([Fault(name, "An integer from 0.")])
        return _answer(await self._reader.job(request.path_params["job_id"], principal, min_version=version))

    async def list(self, request: Request, principal: Principal) -> Response:
        return _answer(await self._reader.listed(principal, _checked(request, job_list_faults)))

    async def counts(self, request: Request, principal: Principal) -> Response:
        return _answer(await self._reader.counts(principal, _checked(request, job_count_faults)))

    async def result(self, request: Request, principal: Principal) -> Response:
        return await self._part(request, principal, "result")

    async def attempts(self, request: Request, principal: Principal) -> Response:
        return await self._part(request, principal, "attempts")

    async def explain(self, request: Request, principal: Principal) -> Response:
        return await self._part(request, principal, "explain")

    async def events(self, request: Request, principal: Principal) -> Response:
        if wants_stream(request):
            return await stream_answer(self._streams, request, principal, only_logs=False)
        return await self._part(request, principal, "events")

    async def logs(self, request: Request, principal: Principal) -> Response:
        if wants_stream(request):
            return await stream_answer(self._streams, request, principal, only_logs=True)
        pairs = _checked(request, lambda found: page_faults(found, others=("after_seq", "stream", "level", "attempt")))
        job_id = request.path_params["job_id"]
        await self._reader.exists(job_id, principal)
        return _answer(await self._monitor.get(f"/v1/jobs/{job_id}/logs", principal, pairs))

    async def timeline(self, request: Request, principal: Principal) -> Response:
        job_id = request.path_params["job_id"]
        await self._reader.exists(job_id, principal)
        pairs = _checked(request, page_faults)
        return _answer(await self._monitor.get(f"/v1/jobs/{job_id}/timeline", principal, pairs))

    async def trace(self, request: Request, principal: Principal) -> Response:
        job = (await self._reader.job(request.path_params["job_id"], principal)).body
        return json_answer(trace_of(job, template=self._trace_url))

    async def cancel(self, request: Request, principal: Principal) -> Response:
        return _accepted(await self._steering.cancel(request.path_params["job_id"], principal, current()))

    async def retry(self, request: Request, principal: Principal) -> Response:
        return _accepted(await self._steering.retry(request.path_params["job_id"], principal, current()))

    async def replay(self, request: Request, principal: Principal) -> Response:
        body = await json_body(request, _ReplayBody, optional=True)
        parameters = body.parameters if body else None
        if parameters is not None and bytes(parameters) == b"null":
            parameters = None
        if parameters is not None and not bytes(parameters).lstrip().startswith(b"{"):
            raise refused([Fault("/parameters", "Expected an object.")])
        job_id = request.path_params["job_id"]
        return _accepted(await self._steering.replay(job_id, principal, current(), parameters=parameters))

    async def reschedule(self, request: Request, principal: Principal) -> Response:
        body = await json_body(request, _RescheduleBody, optional=False)
        assert body is not None
        run_at = body.moment(now=utc_now())
        job_id = request.path_params["job_id"]
        return _accepted(await self._steering.reschedule(job_id, principal, current(), run_at=run_at))

    async def _part(self, request: Request, principal: Principal, part: str) -> Response:
        return _answer(
            await self._reader.part(request.path_params["job_id"], part, principal, _checked(request, page_faults))
        )


def _answer(answer: Answer) -> Response:
    return json_answer(answer.body, headers=answer.headers)


def _accepted(job: bytes) -> Response:
    job_id = msgspec.json.decode(job, type=dict[str, msgspec.Raw])["id"]
    return json_answer(job, status=202, headers={"Location": f"/v1/jobs/{msgspec.json.decode(job_id)}"})


def _checked(request: Request, faults_of: Callable[[Pairs], list[Fault]]) -> Pairs:
    pairs = request.query_params.multi_items()
    if pairs and (faults := faults_of(pairs)):
        raise refused(faults)
    return pairs
