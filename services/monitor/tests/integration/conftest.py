"""A monitor without Kafka: its database, its use cases and its read API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
from jobyard_common.db.pool import create_pool
from jobyard_common.http.context import RequestContextMiddleware
from jobyard_common.http.internal import ServiceAuth
from jobyard_common.messaging.inbound import Inbound, Refused
from jobyard_common.runtime.clock import SystemClock
from jobyard_common.telemetry.tracing import Tracer
from jobyard_monitor.domain.system import Answer
from jobyard_monitor.handlers.keep_tables import Retention, keep_tables
from jobyard_monitor.handlers.project_files import project_files
from jobyard_monitor.handlers.project_jobs import project_jobs
from jobyard_monitor.handlers.record_audit import record_audit
from jobyard_monitor.handlers.record_logs import record_logs
from jobyard_monitor.handlers.record_output import record_output
from jobyard_monitor.inbound.http import ReadApi

APPLY: dict[str, Callable[[Any, list[Inbound]], Awaitable[Sequence[Refused]]]] = {
    "jobs.events": project_jobs,
    "jobs.output": record_output,
    "files.events": project_files,
    "logs": record_logs,
    "audit": record_audit,
}
TOKEN = "test-token"
RETENTION = Retention(timedelta(days=30), timedelta(days=7), timedelta(days=7), timedelta(days=365))


class Bench:
    """`answers` are what services say when they are asked."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.clock = SystemClock()
        self.retention = RETENTION
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    async def __aenter__(self) -> Bench:
        self.pool = await create_pool(self.dsn, application_name="test", max_size=4)
        await keep_tables(self.pool, retention=RETENTION, now=self.clock.now())
        api = ReadApi(self.pool, ask=self._ask, clock=self.clock, operators=["tnt_default"])
        app = RequestContextMiddleware(ServiceAuth(api.app(), token=TOKEN), tracer=Tracer("test"), trust_inbound=True)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://monitor")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        await self.pool.close()

    async def _ask(self, service: str) -> Answer:
        self.asked.append(service)
        return self.answers.get(service, Answer.UNASKED)

    async def apply(self, *records: Inbound) -> list[Refused]:
        """Each run of records of one topic is one transaction."""
        refused: list[Refused] = []
        batch: list[Inbound] = []
        for record in [*records, None]:
            if batch and (record is None or record.topic != batch[0].topic):
                async with self.pool.acquire() as connection, connection.transaction():
                    refused += await APPLY[batch[0].topic](connection, batch)
                batch = []
            if record is not None:
                batch.append(record)
        return refused

    async def answer(self, path: str, *, tenant: str = "tnt_default", **params: Any) -> httpx.Response:
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "X-Jobyard-Tenant": tenant,
            "X-Jobyard-Actor": "key:key_1",
        }
        return await self.http.get(path, headers=headers, params=params)

    async def get(self, path: str, *, tenant: str = "tnt_default", **params: Any) -> Any:
        found = await self.answer(path, tenant=tenant, **params)
        assert found.status_code == 200, found.text
        return found.json()

    async def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in await self.pool.fetch(query, *values)]


@pytest.fixture
def bench(database: Any) -> Iterator[Bench]:
    """`async with bench: …`"""
    yield Bench(database("monitor"))
