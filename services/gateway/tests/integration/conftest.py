"""A whole gateway in this process, on real servers, with a scripted stand-in for the services behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from jobyard_common.contracts.tools import ToolDefinition
from jobyard_common.http.problems import Problem, install
from jobyard_common.http.server import HttpServer
from jobyard_common.telemetry.shipping import LogBuffer
from jobyard_gateway.handlers.mint_key import mint_key
from jobyard_gateway.main import Gateway, assemble
from jobyard_gateway.settings import Settings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route


@dataclass
class StandIn:
    """Plays executor, files and monitor: answers what a test put here and remembers what it was asked."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    seen_seq: int = 0
    waiting: dict[str, Any] = field(default_factory=lambda: {"count": 1, "waiting": 0, "queues": {}})
    ingested: dict[int, int] | None = None
    """How far ingest has come, by partition; None: everywhere."""
    queues: dict[str, dict[str, Any]] = field(default_factory=dict)
    routes: dict[str, str] = field(default_factory=dict)
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    known_files: list[str] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
    """SHA-256 of files, as far as they are known."""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    uploaded: bytes = b""

    def app(self) -> Starlette:
        routes = [
            Route("/internal/v1/jobs/exists", self._exists, methods=["POST"]),
            Route("/internal/v1/files/exists", self._files_exist, methods=["POST"]),
            Route("/internal/v1/jobs/{job_id}", self._job),
            Route("/internal/v1/jobs/{job_id}/events", self._events),
            Route("/internal/v1/jobs/{job_id}/result", self._result),
            Route("/internal/v1/commands/{command_id}", self._outcome),
            Route("/internal/v1/keyed/{job_id}", self._keyed),
            Route("/internal/v1/workers", self._workers),
            Route("/internal/v1/admission", self._admission),
            Route("/internal/v1/queue-rules", self._queues),
            Route("/v1/jobs/{job_id}/logs", self._logs),
            Route("/v1/files/{file_id}", self._upload, methods=["PATCH"]),
            Route("/v1/files/{file_id}/content", self._download),
        ]
        app = Starlette(routes=routes)
        install(app)
        return app

    def _seen(self, request: Request) -> None:
        self.asked.append((request.method, request.url.path, dict(request.headers)))

    def _behind(self, request: Request) -> bool:
        places = [place.split(":") for place in request.headers.get("x-jobyard-after", "").split(",") if place]
        reached = self.ingested
        return reached is not None and any(reached.get(int(number), 0) <= int(at) for number, at in places)

    async def _exists(self, request: Request) -> Response:
        self._seen(request)
        if self._behind(request):
            raise Problem("unavailable")
        return _json({"known": [name for name in (await request.json())["ids"] if name in self.jobs]})

    async def _files_exist(self, request: Request) -> Response:
        self._seen(request)
        known = [name for name in (await request.json())["ids"] if name in self.known_files]
        return _json({"known": known, "sha256": {name: self.contents[name] for name in known if name in self.contents}})

    async def _job(self, request: Request) -> Response:
        self._seen(request)
        if self._behind(request) and request.path_params["job_id"] not in self.jobs:
            raise Problem("unavailable")
        return _json(_or_404(self.jobs.get(request.path_params["job_id"])))

    async def _events(self, request: Request) -> Response:
        rows = _or_404(self.events.get(request.path_params["job_id"]))
        return _json({"data": rows, "next_cursor": None, "has_more": False})

    async def _result(self, request: Request) -> Response:
        self._seen(request)
        if self._behind(request):
            raise Problem("unavailable")
        job = _or_404(self.jobs.get(request.path_params["job_id"]))
        return _json({"job_id": job["id"], "state": job["state"], "stdout": "x" * 100_000, "stderr": "", "files": []})

    async def _outcome(self, request: Request) -> Response:
        return _json(_or_404(self.outcomes.pop(0) if self.outcomes else None))

    async def _keyed(self, request: Request) -> Response:
        return _json({"body_hash": _or_404(self.hashes.get(request.path_params["job_id"]))})

    async def _workers(self, request: Request) -> Response:
        return _json({"data": [{"tools": ["echo@1"], "alive": True}]})

    async def _admission(self, request: Request) -> Response:
        return _json(self.waiting)

    async def _queues(self, request: Request) -> Response:
        return _json({"queues": {"default": {}, "slow": {}, **self.queues}, "routes": self.routes})

    async def _logs(self, request: Request) -> Response:
        after = int(request.query_params.get("after_seq", "0"))
        rows = [row for row in self.lines if row["seq"] > after]
        answer = _json({"data": rows, "next_cursor": None, "has_more": False})
        seen = max([self.seen_seq, *(row["seq"] for row in self.lines)])
        answer.headers["X-Jobyard-Seen-Seq"] = str(seen)
        return answer

    async def _upload(self, request: Request) -> Response:
        self._seen(request)
        self.uploaded = b""
        async for part in request.stream():
            self.uploaded += part
        return Response(
            status_code=204, headers={"Upload-Offset": str(len(self.uploaded)), "Connection": "x-hop", "X-Hop": "1"}
        )

    async def _download(self, request: Request) -> Response:
        self._seen(request)

        async def parts() -> AsyncIterator[bytes]:
            for number in range(64):
                yield bytes([number]) * 65_536

        return StreamingResponse(parts(), status_code=206, headers={"Content-Range": "bytes 0-1/2"})


@dataclass
class Running:
    """A gateway that serves, and a client with its first key."""

    gateway: Gateway
    http: httpx.AsyncClient
    url: str
    key: str


@dataclass
class Yard:
    """What a test starts gateways with; `settings` change single ones."""

    dsn: str
    kafka: str
    valkey: str
    prefix: str
    stand_in: StandIn = field(default_factory=StandIn)

    @asynccontextmanager
    async def running(self, **settings: Any) -> AsyncIterator[Running]:
        back = HttpServer(self.stand_in.app(), host="127.0.0.1", port=0)
        await back.start()
        url = f"http://127.0.0.1:{back.port}"
        gateway = await assemble(self.settings(url, **settings), logs=LogBuffer())
        for component in gateway.components:
            await component.start()
        gateway.readiness.started = True
        key = msgspec.json.decode(await mint_key(self.dsn))["key"]
        own = f"http://127.0.0.1:{gateway.http.port}"
        try:
            async with httpx.AsyncClient(
                base_url=own, headers={"Authorization": f"Bearer {key}"}, timeout=15
            ) as client:
                yield Running(gateway, client, own, key)
        finally:
            for step in ("drain", "stop"):
                for component in reversed(gateway.components):
                    await getattr(component, step)()
            await gateway.close()
            await back.drain()
            await back.stop()

    def settings(self, back: str, **changes: Any) -> Settings:
        known: dict[str, Any] = {
            "postgres_dsn": self.dsn,
            "kafka_bootstrap": self.kafka,
            "topic_prefix": self.prefix,
            "valkey_url": self.valkey,
            "executor_url": back,
            "files_url": back,
            "monitor_url": back,
            "service_token": "token",
            "instance_id": "gateway-test",
            "otlp_endpoint": None,
        }
        return Settings(**{**known, **changes})

    async def define(self, *definitions: ToolDefinition) -> None:
        """Put tools where an executor puts them."""
        await self.produce("tools", [(row.key.encode(), msgspec.json.encode(row)) for row in definitions])

    async def produce(
        self, topic: str, rows: list[tuple[bytes | None, bytes | None]], headers: list[tuple[str, bytes]] | None = None
    ) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka, acks="all")
        await producer.start()
        try:
            for key, value in rows:
                await producer.send_and_wait(self.prefix + topic, key=key, value=value, headers=headers or [])
        finally:
            await producer.stop()

    async def records(self, topic: str, *, count: int, timeout_s: float = 15.0) -> list[Any]:
        """The first `count` records of a topic, waiting for them."""
        consumer = AIOKafkaConsumer(self.prefix + topic, bootstrap_servers=self.kafka, auto_offset_reset="earliest")
        await consumer.start()
        found: list[Any] = []
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    while len(found) < count:
                        for rows in (await consumer.getmany(timeout_ms=100)).values():
                            found += rows
        finally:
            await consumer.stop()
        return found


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")


def _or_404(found: Any) -> Any:
    if found is None:
        raise Problem("not_found")
    return found


@pytest.fixture
def yard(database: Callable[[str], str], servers: Any, topic_prefix: str) -> Iterator[Yard]:
    yield Yard(database("gateway"), servers.kafka, servers.valkey, topic_prefix)
