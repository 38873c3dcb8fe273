"""Reads of jobs: the executor answers, the gateway only knows what it promised a moment ago.

404 is said only behind the spool and the end of the id's partition of `jobs.commands`; if nobody can tell, it is 503.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import httpx
import msgspec
from jobyard_common.contracts.ids import is_id
from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import Problem

from jobyard_gateway.domain import views
from jobyard_gateway.domain.permissions import Principal
from jobyard_gateway.domain.telling import Tell, Word, tell
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
        answer, promised = await self._told(job_id, path, principal, params)
        if answer is None:
            return Answer(promised, {})
        return Answer(views.with_links(answer.content), _passed_on(answer))

    async def part(self, job_id: str, part: str, principal: Principal, params: Any = None) -> Answer:
        """`attempts`, `events`, `explain` or `result` of a job."""
        path = f"/internal/v1/jobs/{_well_formed(job_id)}/{part}"
        answer, promised = await self._told(job_id, path, principal, params)
        if answer is None and part == "explain":
            return Answer(views.explanation_of_promise(promised), {})
        if answer is None:
            raise _of_a_promise(part)
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

    async def _told(
        self, job_id: str, path: str, principal: Principal, params: Any
    ) -> tuple[httpx.Response | None, bytes]:
        """The executor's answer; or None, and what was promised and not taken in yet."""
        executor = promises = behind = Word.UNASKED
        answer: httpx.Response | None = None
        promised: bytes | None = None
        while True:
            what = tell(executor=executor, promises=promises, behind=behind)
            try:
                if what is Tell.ASK:
                    executor, answer = await _word(self._ask(path, principal, params))
                elif what is Tell.ASK_PROMISES:
                    promises = Word.SILENT
                    promised = await self._ledger.certain_view(job_id, tenant=principal.tenant)
                    promises = Word.NO if promised is None else Word.YES
                elif what is Tell.ASK_BEHIND:
                    behind = Word.SILENT
                    after = await self._log.after([job_id])
                    behind, answer = await _word(self._ask(path, principal, params, after=after))
                elif what in (Tell.SHOW, Tell.PROMISED):
                    return answer, promised or b""
                else:
                    raise Problem("not_found") if what is Tell.ABSENT else _unsure()
            except (SpoolAway, LogAway):
                continue

    async def _ask(self, path: str, principal: Principal, params: Any, *, after: str | None = None) -> httpx.Response:
        if after is None:
            after = await self._barrier.header(principal.tenant)
        answer = await self._executor.get(path, principal=principal, after=after, params=params)
        if answer.status_code >= 400:
            raise problem_of(answer)
        return answer


async def _word(asked: Awaitable[httpx.Response]) -> tuple[Word, httpx.Response | None]:
    """Raises Problem for every refusal but `not_found`."""
    try:
        return Word.YES, await asked
    except ServiceAway:
        return Word.SILENT, None
    except Problem as refusal:
        if refusal.code != "not_found":
            raise
        return Word.NO, None


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
