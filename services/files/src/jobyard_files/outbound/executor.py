"""The one question that only the executor can answer: does this attempt's outcome count?"""

from __future__ import annotations

from typing import Protocol

import msgspec
from jobyard_common.contracts import wire
from jobyard_common.http.internal import InternalClient, ServiceAway
from jobyard_common.telemetry.logging import get_logger

from jobyard_files.domain.cause import SYSTEM
from jobyard_files.domain.held import Verdict
from jobyard_files.store.sweeps import Attempt

log = get_logger("executor")


class Commits(Protocol):
    async def verdict(self, attempt: Attempt) -> Verdict: ...


class _Answer(msgspec.Struct):
    committed: bool | None


class ExecutorCommits:
    """Asks over HTTP; an executor that is away or answers oddly is `UNKNOWN`."""

    def __init__(self, client: InternalClient, *, timeout_s: float = 2.0) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def verdict(self, attempt: Attempt) -> Verdict:
        path = f"/internal/v1/committed/{attempt.job_id}/{attempt.attempt}/{attempt.fence}"
        try:
            answer = await self._client.request(
                "GET", path, tenant=attempt.tenant, actor=SYSTEM, timeout_s=self._timeout_s
            )
            if answer.status_code != 200:
                log.warning("executor.odd_answer", path=path, status=answer.status_code)
                return Verdict.UNKNOWN
            committed = wire.decode(_Answer, answer.content).committed
        except (ServiceAway, wire.WireError) as error:
            log.warning("executor.away", path=path, error=str(error)[:200])
            return Verdict.UNKNOWN
        if committed is None:
            return Verdict.RUNNING
        return Verdict.COMMITTED if committed else Verdict.DISCARDED
