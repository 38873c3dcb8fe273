"""What we ask the executor: jobs, and what became of commands."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
from jobyard_common.contracts.jobs import Actor, ActorKind
from jobyard_common.http.internal import InternalClient, ServiceAway

from jobyard_gateway.domain.permissions import Principal

SYSTEM = Actor(ActorKind.SYSTEM, "gateway")


class Outcome(msgspec.Struct):
    """What became of a command; `outcome` is `applied` or the code of the refusal."""

    outcome: str
    job_id: str | None = None


class _Keyed(msgspec.Struct):
    body_hash: str


class _Known(msgspec.Struct):
    known: list[str]


class QueueRoom(msgspec.Struct):
    waiting: int
    max_waiting: int


class WaitingJobs(msgspec.Struct):
    """How many jobs of a tenant wait; `count` numbers the executor's count. Only bounded queues are told."""

    count: int
    waiting: int
    queues: dict[str, QueueRoom] = {}


class QueueRule(msgspec.Struct):
    """What the door must know of a queue."""

    paused: bool = False
    draining: bool = False
    max_waiting: int | None = None


class QueueRules(msgspec.Struct):
    """Queues by name, and the queue of each tool that has a route."""

    queues: dict[str, QueueRule] = {}
    routes: dict[str, str] = {}


class _Worker(msgspec.Struct):
    tools: list[str] = []
    alive: bool = True


class _Workers(msgspec.Struct):
    data: list[_Worker] = []


class Executor:
    """Raises ServiceAway wherever the executor does not answer, a 5xx included."""

    def __init__(self, client: InternalClient) -> None:
        self.client = client

    async def get(
        self,
        path: str,
        *,
        principal: Principal,
        after: str = "",
        params: Any = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """One read for a principal, behind the barrier `after`."""
        return await self._ask("GET", path, principal.tenant, actor_of(principal), after, params, None, timeout_s)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        principal: Principal,
        after: str = "",
        params: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Any call for a principal; refusals are answers, too."""
        actor = actor_of(principal)
        return await self._ask(method, path, principal.tenant, actor, after, params, content, None, headers or {})

    async def outcome(self, command_id: str, *, principal: Principal, after: str) -> Outcome | None:
        """None while the command is not taken in."""
        answer = await self.get(f"/internal/v1/commands/{command_id}", principal=principal, after=after, timeout_s=4.0)
        return None if answer.status_code == 404 else msgspec.json.decode(answer.content, type=Outcome)

    async def keyed_hash(self, job_id: str, *, tenant: str) -> str | None:
        """Body hash of the job that a key made, None if there is none."""
        answer = await self._ask("GET", f"/internal/v1/keyed/{job_id}", tenant, SYSTEM, "", None, None, 0.5)
        return None if answer.status_code == 404 else msgspec.json.decode(answer.content, type=_Keyed).body_hash

    async def known_jobs(self, ids: list[str], *, tenant: str, after: str, timeout_s: float) -> set[str]:
        body = msgspec.json.encode({"ids": ids})
        answer = await self._ask("POST", "/internal/v1/jobs/exists", tenant, SYSTEM, after, None, body, timeout_s)
        return set(msgspec.json.decode(answer.content, type=_Known).known)

    async def workflow_unknown(self, reference: str, *, tenant: str) -> bool:
        """Whether the executor says that there is no such workflow; False while it does not answer."""
        path = f"/internal/v1/workflows/{quote(reference, safe='')}"
        try:
            answer = await self._ask("GET", path, tenant, SYSTEM, "", {"brief": "1"}, None, 0.5)
        except ServiceAway:
            return False
        return answer.status_code == 404

    async def queues(self, *, tenant: str, timeout_s: float) -> set[str]:
        answer = await self._ask("GET", "/internal/v1/queue-rules", tenant, SYSTEM, "", None, None, timeout_s)
        return set(msgspec.json.decode(answer.content, type=QueueRules).queues)

    async def waiting(self, *, tenant: str) -> WaitingJobs:
        answer = await self._ask("GET", "/internal/v1/admission", tenant, SYSTEM, "", None, None, 5.0)
        if answer.status_code != 200:
            raise ServiceAway(f"executor: admission: {answer.status_code}")
        return msgspec.json.decode(answer.content, type=WaitingJobs)

    async def queue_rules(self) -> QueueRules:
        answer = await self._ask("GET", "/internal/v1/queue-rules", "*", SYSTEM, "", None, None, 2.0)
        return msgspec.json.decode(answer.content, type=QueueRules)

    async def offered_tools(self) -> list[str]:
        """`name@version`, once for each live worker that runs it."""
        answer = await self._ask("GET", "/internal/v1/workers", "*", SYSTEM, "", None, None, 2.0)
        workers = msgspec.json.decode(answer.content, type=_Workers).data
        return [tool for worker in workers if worker.alive for tool in worker.tools]

    async def _ask(
        self,
        method: str,
        path: str,
        tenant: str,
        actor: Actor,
        after: str,
        params: Any,
        body: bytes | None,
        timeout_s: float | None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> httpx.Response:
        headers: Mapping[str, str] = {**more, "X-Jobyard-After": after} if after else more
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
        answer = await self.client.request(
            method, path, tenant=tenant, actor=actor, params=params, content=body, headers=headers, timeout_s=timeout_s
        )
        if answer.status_code >= 500 or answer.status_code == 401:
            raise ServiceAway(f"executor: {method} {path.split('?')[0]}: {answer.status_code}")
        return answer


def actor_of(principal: Principal) -> Actor:
    return _actor(principal.actor)


@lru_cache(maxsize=4096)
def _actor(text: str) -> Actor:
    kind, _, name = text.partition(":")
    return Actor(ActorKind(kind), name)
