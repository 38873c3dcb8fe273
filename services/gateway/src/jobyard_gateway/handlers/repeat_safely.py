"""Idempotency keys: the same key means the same job, another body under it is refused when that is known.

Who remembers the body of a key: this process, Valkey, the executor. If nobody can be asked, the executor's ingest has
the last word: the id comes from the key, so there is never a second job.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import FieldError, Problem

from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.handlers.submit_job import Draft, Submitter, refused
from jobyard_gateway.outbound.executor import Executor
from jobyard_gateway.outbound.shelf import Shelf, Unknown

REMEMBERED = 50_000
TTL_S = 7 * 86_400
HEADER = "Idempotency-Key"


def checked_key(text: str | None) -> str | None:
    """The key in a header.

    Raises:
        Problem: validation_failed.
    """
    if text is None:
        return None
    if not 1 <= len(text) <= 255 or not all("!" <= character <= "~" for character in text):
        raise refused([Fault(HEADER, "1 to 255 visible ASCII characters.")])
    return text


class Repeats:
    """Keyed submits of this process, and the memory of those before."""

    def __init__(self, submitter: Submitter, shelf: Shelf, executor: Executor) -> None:
        self._submitter = submitter
        self._shelf = shelf
        self._executor = executor
        self._hashes: OrderedDict[str, str] = OrderedDict()
        self._durable: set[str] = set()
        self._under_way: dict[str, asyncio.Future[None]] = {}

    async def keep(self, draft: Draft) -> bool:
        """Make the job durable unless it is already; True if this key had made it before.

        Raises:
            Problem: idempotency_conflict or unavailable.
        """
        job_id = draft.job_id
        while (before := self._under_way.get(job_id)) is not None:
            await asyncio.wait([before])
            if (
                self._hashes.get(job_id) == draft.command.body_hash
                and not before.cancelled()
                and not before.exception()
            ):
                return True
        ours: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ours.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._under_way[job_id] = ours
        try:
            known = await self._claim(draft)
            if not known:
                await self._submitter.keep(draft)
            self._durable.add(job_id)
            ours.set_result(None)
            return known
        except BaseException as error:
            ours.set_exception(error) if isinstance(error, Exception) else ours.cancel()
            raise
        finally:
            del self._under_way[job_id]

    async def is_new(self, draft: Draft) -> bool:
        """Whether this key made no job yet, for a caller that makes it durable itself.

        Raises:
            Problem: idempotency_conflict.
        """
        return not await self._claim(draft)

    async def _claim(self, draft: Draft) -> bool:
        """Whether the job is known to be durable; raises when its body was another one."""
        job_id, hashed = draft.job_id, draft.command.body_hash
        seen, durable = self._hashes.get(job_id), job_id in self._durable
        if seen is None:
            seen = await self._shelved(job_id, hashed)
            stored = await self._stored(job_id, draft.command.tenant)
            seen, durable = stored or seen, stored is not None
        if seen is not None and seen != hashed:
            raise Problem(
                "idempotency_conflict",
                "This idempotency key belongs to another request.",
                errors=[FieldError(HEADER, "Used before with another body.")],
                extra={"job_id": job_id},
            )
        self._hashes[job_id] = hashed
        if len(self._hashes) > REMEMBERED:
            oldest, _ = self._hashes.popitem(last=False)
            self._durable.discard(oldest)
        return durable or await self._submitter.promised(job_id, tenant=draft.command.tenant)

    async def _shelved(self, job_id: str, hashed: str) -> str | None:
        try:
            found = await self._shelf.reserve(f"key:{job_id}", hashed.encode(), ttl_s=TTL_S)
        except Unknown:
            return None
        return found.decode() if found else None

    async def _stored(self, job_id: str, tenant: str) -> str | None:
        try:
            return await self._executor.keyed_hash(job_id, tenant=tenant)
        except ServiceAway:
            return None
