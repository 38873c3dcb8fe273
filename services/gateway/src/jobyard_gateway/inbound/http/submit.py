"""`POST /v1/jobs`, the hot path: plain ASGI, no framework between the socket and the use case."""

from __future__ import annotations

import re

from jobyard_common.http.context import Receive, Scope, Send, current
from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.one_write import PLAIN
from jobyard_common.http.problems import Problem, render
from jobyard_common.telemetry.logging import get_logger

from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.handlers.authenticate import Authenticator, allow
from jobyard_gateway.handlers.await_end import Waiting
from jobyard_gateway.handlers.limit import Limiter
from jobyard_gateway.handlers.read_jobs import JobReader
from jobyard_gateway.handlers.repeat_safely import Repeats, checked_key
from jobyard_gateway.handlers.submit_again import Again
from jobyard_gateway.handlers.submit_job import LARGER_PARAMETERS, MAX_BODY_BYTES, Draft, Origin, Submitter
from jobyard_gateway.inbound.http.bodies import Gone, TooLarge, read_body, require_json
from jobyard_gateway.outbound.executor import actor_of
from jobyard_gateway.outbound.ledger import view_of
from jobyard_gateway.outbound.references import away

log = get_logger("http")
PATH = "/v1/jobs"
_WAIT = re.compile(rb"(?:^|[,;\s])wait=(\d{1,4})(?:$|[,;\s])")


class SubmitEndpoint:
    """One submit, from its head to its 202."""

    def __init__(
        self,
        authenticator: Authenticator,
        submitter: Submitter,
        repeats: Repeats,
        *,
        reader: JobReader,
        waiting: Waiting,
        limiter: Limiter,
    ) -> None:
        self._authenticator = authenticator
        self._submitter = submitter
        self._again = Again(submitter)
        self._repeats = repeats
        self._reader = reader
        self._waiting = waiting
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route_template"] = PATH
        try:
            await self._answer(scope, receive, send)
        except Problem as problem:
            await render(problem, instance=PATH)(scope, receive, send)
        except Gone:
            return
        except Exception as error:
            log.error("request.failed", path=PATH, method="POST", exc_info=error)
            await render(Problem("internal"), instance=PATH)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        authorization = content_type = content_encoding = prefer = b""
        key: str | None = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"content-type":
                content_type = value
            elif name == b"content-encoding":
                content_encoding = value
            elif name == b"idempotency-key":
                key = value.decode("latin-1")
            elif name == b"prefer":
                prefer = value
        principal = self._authenticator.remembered(authorization) or await self._authenticator.of_header(authorization)
        allow(principal, Permission.JOBS_WRITE)
        context = current()
        context.trust_caller()
        if self._limiter.active:
            await self._limiter.check(principal, "submit")
        require_json(content_type, content_encoding)
        key = checked_key(key)
        try:
            body = await read_body(scope, receive, limit=MAX_BODY_BYTES)
        except TooLarge as error:
            error.detail = f"{error.detail} {LARGER_PARAMETERS}"
            raise
        origin = Origin(principal.tenant, actor_of(principal), context.correlation_id, context.trace)
        draft = self._again.draft(body, origin) if key is None else None
        if draft is None:
            draft = await self._draft(body, origin, key=key)
        self._submitter.admit(draft)
        wait_s = _wait_of(prefer)
        if wait_s is not None:
            await self._keep_and_wait(draft, principal, key=key, wait_s=wait_s, send=send)
            return
        if key is not None and await self._repeats.keep(draft):
            await self._replayed(draft, principal, send=send)
            return
        if key is None:
            await self._submitter.keep(draft)
        await _send_job(send, 202, draft.job_id, view_of(draft.command, draft.promise), ())

    async def _draft(self, body: bytes, origin: Origin, *, key: str | None) -> Draft:
        checked = self._submitter.read(body)
        try:
            await self._submitter.look_up(checked, tenant=origin.tenant)
        except ServiceAway as error:
            raise away(error) from None
        draft = self._submitter.draft(checked, origin, key=key)
        if key is None:
            self._again.learn(body, checked, draft.command)
        return draft

    async def _replayed(self, draft: Draft, principal: Principal, *, send: Send) -> None:
        try:
            body = (await self._reader.job(draft.job_id, principal)).body
        except Problem:
            # The executor knows the key, but nobody can show the job now; what was asked is what it is.
            body = view_of(draft.command, draft.promise)
        await _send_job(send, 202, draft.job_id, body, ((b"idempotency-replayed", b"true"),))

    async def _keep_and_wait(
        self,
        draft: Draft,
        principal: Principal,
        *,
        key: str | None,
        wait_s: int,
        send: Send,
    ) -> None:
        with self._waiting.following(draft.job_id) as follower:
            replayed = False
            if key is not None:
                replayed = await self._repeats.keep(draft)
            else:
                await self._submitter.keep(draft)
            body = await self._waiting.end_of(draft.job_id, principal, follower=follower, wait_s=wait_s)
        headers = [(b"preference-applied", b"wait=%d" % wait_s)]
        if replayed:
            headers.append((b"idempotency-replayed", b"true"))
        if body is not None:
            await _send_job(send, 200, draft.job_id, body, tuple(headers))
            return
        try:
            shown = (await self._reader.job(draft.job_id, principal)).body
        except Problem:
            shown = view_of(draft.command, draft.promise)
        await _send_job(send, 202, draft.job_id, shown, tuple(headers))


def _wait_of(prefer: bytes) -> int | None:
    """Seconds of `Prefer: wait=N`, at most 60; a preference that we don't understand is ignored, as RFC 7240 says."""
    found = _WAIT.search(prefer) if prefer else None
    if found is None or int(found[1]) < 1:
        return None
    return min(60, int(found[1]))


async def _send_job(
    send: Send, status: int, job_id: str, body: bytes, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            PLAIN: True,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"location", b"/v1/jobs/" + job_id.encode()),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
