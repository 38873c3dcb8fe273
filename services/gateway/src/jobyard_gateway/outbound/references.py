"""Whether the files, parents and queues that a submit names exist, asked once and remembered for 30 s."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import msgspec
from jobyard_common.http.internal import InternalClient, ServiceAway
from jobyard_common.http.problems import Problem

from jobyard_gateway.outbound.barrier import Barrier
from jobyard_gateway.outbound.command_log import CommandLog, LogAway
from jobyard_gateway.outbound.executor import SYSTEM, Executor
from jobyard_gateway.outbound.ledger import Ledger, SpoolAway

DEADLINE_S = 0.3
REMEMBERED_S = 30.0
CAPACITY = 50_000


class _Known(msgspec.Struct):
    known: list[str]
    sha256: dict[str, str] = {}


class References:
    """Only positive answers are remembered. Raises ServiceAway while the owner of something is away."""

    def __init__(
        self,
        executor: Executor,
        files: InternalClient,
        *,
        ledger: Ledger,
        barrier: Barrier,
        log: CommandLog,
        monotonic: Callable[[], float],
    ) -> None:
        self._executor = executor
        self._files = files
        self._ledger = ledger
        self._barrier = barrier
        self._log = log
        self._monotonic = monotonic
        self._seen: dict[tuple[str, str], float] = {}
        self._contents: dict[tuple[str, str], str] = {}

    async def missing(self, *, tenant: str, files: Iterable[str], jobs: Iterable[str], queue: str | None) -> set[str]:
        """Those of the named things that do not exist for this tenant; a queue comes back as `queue`."""
        unknown_files = self._unseen(tenant, set(files))
        unknown_jobs = [job for job in self._unseen(tenant, set(jobs)) if not self._ledger.knows(job, tenant=tenant)]
        unknown_queue = self._unseen(tenant, {f"queue {queue}"} if queue else set())
        asked = []
        if unknown_files:
            asked.append(self._known_files(tenant, unknown_files))
        if unknown_jobs:
            asked.append(self._known_jobs(tenant, unknown_jobs))
        if unknown_queue:
            asked.append(self._known_queues(tenant))
        if not asked:
            return set()
        known: set[str] = set().union(*await asyncio.gather(*asked))
        self._remember(tenant, known)
        missing = {*unknown_files, *unknown_jobs, *unknown_queue} - known
        return {"queue" if name.startswith("queue ") else name for name in missing}

    def contents(self, files: Mapping[str, str], *, tenant: str) -> dict[str, str] | None:
        """Hex SHA-256 by slot of files that `missing` was asked about; None if one of them has none yet."""
        found = {slot: self._contents.get((tenant, file_id)) for slot, file_id in files.items()}
        return None if None in found.values() else {slot: digest for slot, digest in found.items() if digest}

    async def _known_files(self, tenant: str, ids: list[str]) -> set[str]:
        answer = await self._files.request(
            "POST",
            "/internal/v1/files/exists",
            tenant=tenant,
            actor=SYSTEM,
            content=msgspec.json.encode({"ids": ids}),
            headers={"Content-Type": "application/json"},
            timeout_s=DEADLINE_S,
        )
        if answer.status_code != 200:
            raise ServiceAway(f"files: exists: {answer.status_code}")
        told = msgspec.json.decode(answer.content, type=_Known)
        if len(self._contents) > CAPACITY:
            self._contents.clear()
        self._contents |= {(tenant, file_id): digest for file_id, digest in told.sha256.items()}
        return set(told.known)

    async def _known_jobs(self, tenant: str, ids: list[str]) -> set[str]:
        after = await self._barrier.header(tenant)
        known = await self._executor.known_jobs(ids, tenant=tenant, after=after, timeout_s=_patience(after))
        unknown = [job_id for job_id in ids if job_id not in known]
        return known | await self._behind_all(tenant, unknown) if unknown else known

    async def _behind_all(self, tenant: str, ids: list[str]) -> set[str]:
        """Those of the jobs that exist nevertheless: another gateway, or this one before a restart, took them in."""
        try:
            waiting = await self._ledger.waiting(ids, tenant=tenant)
            after = await self._log.after(ids)
        except (SpoolAway, LogAway) as error:
            raise ServiceAway(f"executor: {error}") from None
        return waiting | await self._executor.known_jobs(ids, tenant=tenant, after=after, timeout_s=_patience(after))

    async def _known_queues(self, tenant: str) -> set[str]:
        return {f"queue {name}" for name in await self._executor.queues(tenant=tenant, timeout_s=DEADLINE_S)}

    def _unseen(self, tenant: str, names: set[str]) -> list[str]:
        oldest = self._monotonic() - REMEMBERED_S
        return sorted(name for name in names if self._seen.get((tenant, name), -1e9) < oldest)

    def _remember(self, tenant: str, names: set[str]) -> None:
        if len(self._seen) > CAPACITY:
            self._seen.clear()
        now = self._monotonic()
        for name in names:
            self._seen[tenant, name] = now


def away(error: ServiceAway) -> Problem:
    """For a submit whose references nobody can look up now."""
    service = "files service" if "files" in str(error) else "executor"
    return Problem("unavailable", f"What this job names can't be looked up: the {service} is away.")


def _patience(after: str) -> float:
    """The executor waits up to 2 s behind a barrier."""
    return 2.5 if after else DEADLINE_S
