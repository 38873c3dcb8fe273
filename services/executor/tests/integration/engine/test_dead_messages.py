"""Dead-letter topics on a real broker: read where they are, replayed once, marked, never copied."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import msgspec
from jobyard_common.contracts.topics import JOBS_INTAKE
from jobyard_common.messaging.inbound import Inbound, Refused, dead_letter
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.publisher import OutRecord, Publisher
from jobyard_common.runtime.health import Readiness
from jobyard_executor.inbound.barrier import Barrier
from jobyard_executor.inbound.http import ReadApi, make_app
from jobyard_executor.inbound.http_dead_messages import DeadMessageApi
from jobyard_executor.outbound.dead_topics import DeadTopics

Play = Callable[[Any], None]
TOKEN = "t" * 32
AUTH = {"Authorization": f"Bearer {TOKEN}", "X-Jobyard-Tenant": "tnt_test", "X-Jobyard-Actor": "key:k"}
PATH = "/internal/v1/dead-messages"
DAY_MS = 86_400_000
_headers_in = msgspec.msgpack.Decoder(list[tuple[str, bytes]])


def refused(
    number: int, *, value: bytes | None = b"nonsense", age_ms: int = 0, topic: str = "jobs.intake"
) -> OutRecord:
    """A record as a consumer refuses it."""
    stamp = int(time.time() * 1000) - age_ms
    headers = [("idempotency-key", b"k"), ("broken", b"\xff")]
    record = Inbound(topic, 1, number, stamp, f"key-{number}".encode(), value, headers)
    return dead_letter(Refused(record, "malformed_json", f"number {number}"), group="gateway-intake")


def story(play: Play, servers: Any, prefix: str, tell: Callable[[Any, Any, Publisher], Awaitable[None]]) -> None:
    async def scenario(bench: Any) -> None:
        kafka = KafkaSettings(servers.kafka, "test", prefix)
        publisher = Publisher(kafka)
        await publisher.start()
        await publisher.connected()
        app = make_app(
            ReadApi(bench.pool, Barrier(bench.pool, None, topic="jobs.commands")),
            readiness=Readiness(),
            tracer=bench.engine.tracer,
            token=TOKEN,
            parts=[DeadMessageApi(bench.engine, bench.pool, DeadTopics(kafka))],
        )
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://executor", headers=AUTH) as http:
                await tell(bench, http, publisher)
        finally:
            await publisher.stop()

    play(scenario)


async def every_page(http: Any, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = (await http.get(PATH, params=params | ({"cursor": cursor} if cursor else {}))).json()
        found += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_pages_hold_every_record_once_newest_first(play: Play, servers: Any, topic_prefix: str) -> None:
    async def tell(bench: Any, http: Any, publisher: Publisher) -> None:
        for number in range(12):
            await publisher.send(refused(number, topic=("jobs.intake", "jobs.commands")[number % 2]))
        found = await every_page(http, limit=5)
        assert sorted(row["message"] for row in found) == sorted(f"number {number}" for number in range(12))
        commands = [row["message"] for row in found if row["topic"] == "jobs.commands"]
        assert commands == [f"number {number}" for number in (11, 9, 7, 5, 3, 1)]
        only = await every_page(http, limit=5, topic="jobs.intake")
        assert [row["message"] for row in only] == [f"number {number}" for number in (10, 8, 6, 4, 2, 0)]
        assert await every_page(http, reason="another") == []
        assert (await http.get(PATH, params={"topic": "nothing"})).status_code == 422
        assert (await http.get(PATH, params={"cursor": "bm9uc2Vuc2U"})).status_code == 422

    story(play, servers, topic_prefix, tell)


def test_a_replay_keeps_key_and_headers_and_is_done_once(play: Play, servers: Any, topic_prefix: str) -> None:
    async def tell(bench: Any, http: Any, publisher: Publisher) -> None:
        await publisher.send(refused(7))
        (row,) = (await http.get(PATH)).json()["data"]
        assert (row["reason"], row["partition"], row["offset"], row["replays"]) == ("malformed_json", 1, 7, 0)
        assert {"name": "broken", "value": "/w==", "encoding": "base64"} in row["headers"]
        sent = {"value": '{"tool":"test.noop"}', "note": "brackets"}
        answer = await http.post(f"{PATH}/{row['id']}/replay", json=sent)
        assert (answer.status_code, answer.json()["state"], answer.json()["handled"]["edited"]) == (
            202,
            "replayed",
            True,
        )
        again = await http.post(f"{PATH}/{row['id']}/replay", json={})
        assert (again.status_code, again.json()["code"]) == (409, "conflict")
        record = await bench.pool.fetchrow("SELECT topic, key, value, headers FROM outbox WHERE topic <> 'audit'")
        assert (record["topic"], record["key"], record["value"]) == (JOBS_INTAKE.name, b"key-7", sent["value"].encode())
        headers = dict(_headers_in.decode(record["headers"]))
        assert headers == {
            "idempotency-key": b"k", "broken": b"\xff", "jobyard-replayed": b"1", "jobyard-replayed-by": b"key:k",
        }  # fmt: skip
        looped = Inbound("jobs.intake", 0, 9, 0, record["key"], record["value"], list(headers.items()))
        await publisher.send(dead_letter(Refused(looped, "malformed_json", "again"), group="gateway-intake"))
        newest = (await http.get(PATH)).json()["data"][0]
        assert (newest["replays"], newest["state"]) == (1, "open")
        audit = await bench.pool.fetchval("SELECT value FROM outbox WHERE topic = 'audit'")
        assert msgspec.json.decode(audit)["action"] == "dead_message.replayed"

    story(play, servers, topic_prefix, tell)


def test_a_discarded_one_stays_readable_and_a_null_stays_null(play: Play, servers: Any, topic_prefix: str) -> None:
    async def tell(bench: Any, http: Any, publisher: Publisher) -> None:
        await publisher.send(refused(1, value=None))
        (row,) = (await http.get(PATH)).json()["data"]
        answer = await http.post(f"{PATH}/{row['id']}/discard", json={"note": "noise"})
        assert (answer.json()["state"], answer.json()["value"]) == ("discarded", None)
        assert (await http.get(f"{PATH}/{row['id']}")).json()["handled"]["note"] == "noise"
        assert (await http.post(f"{PATH}/{row['id']}/replay", json={})).status_code == 409

    story(play, servers, topic_prefix, tell)


def test_one_that_is_older_than_its_ids_are_remembered_needs_a_decision(
    play: Play, servers: Any, topic_prefix: str
) -> None:
    async def tell(bench: Any, http: Any, publisher: Publisher) -> None:
        await publisher.send(refused(1, age_ms=11 * DAY_MS))
        (row,) = (await http.get(PATH)).json()["data"]
        answer = await http.post(f"{PATH}/{row['id']}/replay", json={})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (409, "/force")
        assert (await http.post(f"{PATH}/{row['id']}/replay", json={"force": True})).status_code == 202

    story(play, servers, topic_prefix, tell)


def test_ids_that_name_nothing_are_not_found(play: Play, servers: Any, topic_prefix: str) -> None:
    async def tell(bench: Any, http: Any, publisher: Publisher) -> None:
        await publisher.send(refused(1))
        for bad in ("jobs.intake.dlt:0:99", "jobs.intake.dlt:7:0", "jobs.intake:0:0", "x", "jobs.intake.dlt:0:-1"):
            assert (await http.get(f"{PATH}/{bad}")).status_code == 404

    story(play, servers, topic_prefix, tell)


def test_while_kafka_is_away_it_says_so(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        topics = DeadTopics(KafkaSettings("127.0.0.1:1", "test", "p."))
        app = make_app(
            ReadApi(bench.pool, Barrier(bench.pool, None, topic="jobs.commands")),
            readiness=Readiness(),
            tracer=bench.engine.tracer,
            token=TOKEN,
            parts=[DeadMessageApi(bench.engine, bench.pool, topics)],
        )
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://executor", headers=AUTH) as http:
            async with asyncio.timeout(30):
                answer = await http.get(PATH)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")

    play(scenario)
