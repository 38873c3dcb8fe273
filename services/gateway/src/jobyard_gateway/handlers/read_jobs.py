"""Reads of jobs: the executor answers, the gateway only knows what it promised a moment ago.

404 is said only behind the spool and the end of the id's partition of `jobs.commands`; if nobody can tell, it is 503.
"""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
from jobyard_common.contracts.ids import is_id
from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import Problem

from jobyard_gateway.domain import views
from jobyard_gateway.domain.permissions import Principal
from jobyard_gateway.outbound.answers import Answer, problem_of
from jobyard_gateway.outbound.barrier import Barrier
from jobyard_gateway.outbound.command_log import CommandLog, LogAway
from jobyard_gateway.outbound.executor import Executor
from jobyard_gateway.outbound.ledger import Ledger, SpoolAway

PASSED_ON = ("etag", "x-jobyard-stale")


class _State(msgspec.Struct):
    state: str


class JobReader:
    def __init__(
        self, executor: Executor, ledger: Ledger, barrier: Barrier, log: CommandLog, *, public_url: str
    ) -> None:
        self._executor = executor
        self._ledger = ledger
        self._barrier = barrier
        self._log = log
        self._public_url = public_url

    async def job(self, job_id: str, principal: Principal, *, min_version: int | None = None) -> Answer:
        """The job with its links."""
        path = f"/internal/v1/jobs/{_well_formed(job_id)}"
        params = {} if min_version is None else {"min_version": str(min_version)}
        try:
            answer = await self._ask(path, principal, params)
        except (ServiceAway, Problem) as error:
            if isinstance(error, Problem) and error.code != "not_found":
                raise
            promised = await self._promised(job_id, principal)
            if promised is not None:
                return Answer(promised, {})
            if isinstance(error, ServiceAway):
                raise _unsure() from None
            answer = await self._ask_behind_all(job_id, path, principal, params)
        return Answer(views.with_links(answer.content), _passed_on(answer))

    async def part(self, job_id: str, part: str, principal: Principal, params: Any = None) -> Answer:
        """`attempts`, `events`, `explain` or `result` of a job."""
        path = f"/internal/v1/jobs/{_well_formed(job_id)}/{part}"
        try:
            answer = await self._ask(path, principal, params)
        except (ServiceAway, Problem) as error:
            if isinstance(error, Problem) and error.code != "not_found":
                raise
            if await self._promised(job_id, principal) is not None:
                raise _of_a_promise(part) from None
            if isinstance(error, ServiceAway):
                raise _unsure() from None
            answer = await self._ask_behind_all(job_id, path, principal, params)
        body = answer.content
        if part == "result":
            body = views.result_with_urls(body, public_url=self._public_url)
        return Answer(body, _passed_on(answer))

    async def listed(self, principal: Principal, params: list[tuple[str, str]]) -> Answer:
        answer = await self._guarded("/internal/v1/jobs", principal, params)
        return Answer(views.page_with_links(answer.content), {})

    async def counts(self, principal: Principal, params: list[tuple[str, str]]) -> Answer:
        return Answer((await self._guarded("/internal/v1/jobs/counts", principal, params)).content, {})

    async def plain(self, path: str, principal: Principal, params: Any = None) -> Answer:
        """Another read of the executor, passed on as it is."""
        return Answer((await self._guarded(path, principal, params)).content, {})

    async def exists(self, job_id: str, principal: Principal) -> None:
        """Raises Problem not_found, or unavailable if nobody can tell."""
        await self.job(job_id, principal)

    async def _guarded(self, path: str, principal: Principal, params: Any) -> httpx.Response:
        try:
            return await self._ask(path, principal, params)
        except ServiceAway:
            raise _unsure() from None

    async def _promised(self, job_id: str, principal: Principal) -> bytes | None:
        try:
            return await self._ledger.certain_view(job_id, tenant=principal.tenant)
        except SpoolAway:
            raise _unsure() from None

    async def _ask_behind_all(self, job_id: str, path: str, principal: Principal, params: Any) -> httpx.Response:
        """Ask again behind every command that anybody was promised so far; the spool was looked at before."""
        try:
            return await self._ask(path, principal, params, after=await self._log.after([job_id]))
        except (LogAway, ServiceAway):
            raise _unsure() from None

    async def _ask(self, path: str, principal: Principal, params: Any, *, after: str | None = None) -> httpx.Response:
        if after is None:
            after = await self._barrier.header(principal.tenant)
        answer = await self._executor.get(path, principal=principal, after=after, params=params)
        if answer.status_code >= 400:
            raise problem_of(answer)
        return answer


def _unsure() -> Problem:
    return Problem("unavailable", "Nobody can tell at the moment: what knows of this is away or has fallen behind.")


def state_of(job: bytes) -> str:
    return msgspec.json.decode(job, type=_State).state


def _well_formed(job_id: str) -> str:
    if not is_id("job", job_id):
        raise Problem("not_found")
    return job_id


def _passed_on(answer: httpx.Response) -> dict[str, str]:
    return {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}


def _of_a_promise(part: str) -> Problem:
    if part == "result":
        return Problem("job_not_finished")
    return Problem("unavailable", "The job is accepted, and the executor has not taken it in yet.")
