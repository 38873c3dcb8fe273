"""Reads of the monitor, passed on as they are."""

from __future__ import annotations

from typing import Any

from jobyard_common.http.internal import InternalClient, ServiceAway
from jobyard_common.http.problems import Problem

from jobyard_gateway.domain.permissions import Principal
from jobyard_gateway.outbound.answers import Answer, problem_of
from jobyard_gateway.outbound.executor import actor_of

PASSED_ON = ("x-jobyard-seen-seq",)


class Monitor:
    def __init__(self, client: InternalClient) -> None:
        self.client = client

    async def get(self, path: str, principal: Principal, params: Any = None) -> Answer:
        """Raises Problem: what the monitor says, or unavailable."""
        try:
            answer = await self.client.request(
                "GET", path, tenant=principal.tenant, actor=actor_of(principal), params=params
            )
        except ServiceAway:
            raise Problem("unavailable", "The monitor can't be asked at the moment. Jobs run without it.") from None
        if answer.status_code >= 400:
            raise problem_of(answer)
        return Answer(answer.content, {name: answer.headers[name] for name in PASSED_ON if name in answer.headers})
