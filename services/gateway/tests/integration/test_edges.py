"""Kafka intake, event streams, files and administration, each through a whole gateway."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import msgspec
from jobyard_common.contracts.ids import new_id
from jobyard_common.contracts.jobs import SubmitJob
from jobyard_common.contracts.output import OutputLine, OutputPack, Stream
from jobyard_common.contracts.tools import Isolation, Level, ToolDefinition
from jobyard_common.contracts.wire import utc_now
from jobyard_common.testing.eventually import eventually

TOOL = ToolDefinition(
    "echo", "1", "Echo", "", msgspec.Raw(b'{"additionalProperties":false}'), "default", Isolation.ASYNC, Level.L0, "h"
)


async def tool_known(http: httpx.AsyncClient) -> bool:
    return (await http.get("/v1/tools/echo")).status_code == 200


def shown(job_id: str, state: str) -> dict[str, Any]:
    return {"id": job_id, "state": state, "version": 1, "trace_id": "a" * 32, "correlation_id": "c"}


def test_intake_makes_jobs_and_dead_letters(yard: Any) -> None:
    rubbish: list[tuple[bytes | None, bytes | None]] = [
        (b"r0", None),
        (b"r1", b"\xff\xfe{"),
        (b"\xff\x00", b"[1]"),
        (b"r3", b'{"tool":"gone"}'),
        (b"r4", b'{"tool":"echo","tenant":"other"}'),
        (b"r5", b'{"tool":"echo","metadata":{"k":"\\u0000"}}'),
        (None, b""),
    ]

    async def story() -> None:
        await yard.define(TOOL)
        async with yard.running() as running:
            await eventually(lambda: tool_known(running.http), what="the tool")
            await yard.produce("jobs.intake", [*rubbish, (b"good", b'{"tool":"echo"}'), (b"good", b'{"tool":"echo"}')])
            await yard.produce("jobs.intake", [(b"k", b'{"tool":"echo"}')] * 2, [("idempotency-key", b"order-1")])
            await yard.produce("jobs.intake", [(b"w", b'{"tool":"echo"}')], [("jobyard-api-key", b"jy_wrong")])
            commands = await yard.records("jobs.commands", count=3)
            made = [msgspec.json.decode(record.value, type=SubmitJob) for record in commands]
            assert len({command.job_id for command in made}) == 3
            assert {(command.tenant, command.actor.kind.value) for command in made} == {("tnt_default", "producer")}
            letters = await yard.records("jobs.intake.dlt", count=len(rubbish) + 1)
            by_value = {record.value: record for record in letters}
            for key, value in rubbish:
                record = by_value[value]
                headers = dict(record.headers)
                assert record.key == key
                assert headers["dlt-reason"] and headers["dlt-original-topic"] == b"jobs.intake"
            assert dict(by_value[b'{"tool":"echo"}'].headers)["dlt-reason"] == b"unauthenticated"
            audit = [json.loads(record.value) for record in await yard.records("audit", count=len(letters))]
            assert {row["action"] for row in audit} == {"intake.refuse"}
            assert len(audit) == len(letters)
            assert len(await yard.records("jobs.commands", count=4, timeout_s=1)) == 3
            by_http = await running.http.post("/v1/jobs", json={"tool": "echo"}, headers={"Idempotency-Key": "order-1"})
            assert by_http.json()["id"] in {command.job_id for command in made}

    asyncio.run(story())


def test_intake_waits_while_a_queue_is_full_and_refuses_nothing(yard: Any) -> None:
    async def story() -> None:
        await yard.define(TOOL)
        yard.stand_in.waiting = {"count": 1, "waiting": 2, "queues": {"default": {"waiting": 2, "max_waiting": 2}}}
        async with yard.running() as running:
            await eventually(lambda: tool_known(running.http), what="the tool")
            await yard.produce("jobs.intake", [(b"k", b'{"tool":"echo"}')] * 3)

            async def waits() -> bool:
                return "takes at most 2 waiting jobs" in (await running.http.get("/readyz")).text

            await eventually(waits, what="intake waiting", timeout_s=20)
            others = [(f"k{n}".encode(), b'{"tool":"echo","queue":"slow"}') for n in range(12)]
            await yard.produce("jobs.intake", others)
            assert await yard.records("jobs.commands", count=1), "other partitions go on"
            assert 'jobyard_kafka_partition_held{partition="' in (await running.http.get("/metrics")).text
            yard.stand_in.waiting = {"count": 2, "waiting": 0, "queues": {"default": {"waiting": 0, "max_waiting": 9}}}
            commands = await yard.records("jobs.commands", count=15)
            assert len({record.key for record in commands}) == 15
            assert await yard.records("jobs.intake.dlt", count=1, timeout_s=1) == []

    asyncio.run(story())


async def events(running: Any, path: str, *, last: str | None = None) -> list[tuple[str, str, Any]]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    found: list[tuple[str, str, Any]] = []
    async with asyncio.timeout(15), running.http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        parts: dict[str, str] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line:
                parts[name] = value
            elif "event" in parts:
                found.append((parts["event"], parts["id"], json.loads(parts["data"])))
                parts = {}
    return found


def test_a_stream_replays_follows_and_resumes(yard: Any) -> None:
    job_id = new_id("job")

    def row(number: int, state: str, output_seq: int, attempt: int = 1) -> dict[str, Any]:
        return {"seq": number, "state": state, "attempt": attempt, "incarnation": 5, "output_seq": output_seq}

    def line(n: int, stream: str = "stdout") -> dict[str, Any]:
        return {
            "seq": 10**9 + n,
            "at": "2026-01-01T00:00:00.000Z",
            "attempt": 1,
            "stream": stream,
            "message": f"line {n}",
        }

    async def story() -> None:
        async with yard.running() as running:
            yard.stand_in.jobs[job_id] = shown(job_id, "running")
            yard.stand_in.events[job_id] = [row(1, "queued", 0, 0), row(2, "running", 0)]
            yard.stand_in.lines = [line(1)]
            path = f"/v1/jobs/{job_id}/events"
            following = asyncio.create_task(events(running, path))

            async def live() -> None:
                await asyncio.sleep(1.0)
                progress = OutputLine(
                    10**9 + 2, utc_now(), Stream.PROGRESS, fields=msgspec.Raw(b'{"done":1,"total":2,"note":null}')
                )
                lines = (progress, OutputLine(10**9 + 3, utc_now(), Stream.STDOUT, "line 3"))
                pack = msgspec.json.encode(OutputPack(job_id, "tnt_default", 1, 1, lines))
                yard.stand_in.jobs[job_id] = shown(job_id, "succeeded")
                yard.stand_in.events[job_id].append(row(3, "succeeded", 10**9 + 3))
                yard.stand_in.lines += [line(3)]
                await yard.produce("jobs.events", [(job_id.encode(), b"{}")])
                await yard.produce("jobs.output", [(job_id.encode(), pack)])

            await live()
            seen = await following
            assert [name for name, _, _ in seen] == [
                "job.state", "job.state", "job.log", "job.progress", "job.log", "job.state", "job.result", "stream.end",
            ]  # fmt: skip
            assert seen[3][2]["done"] == 1
            assert seen[-1][2] == {"state": "succeeded"}
            assert len(seen[-2][2]["stdout"]) == 65_536 and seen[-2][2]["truncated"] is True
            assert len({place for _, place, _ in seen}) == len(seen)
            for cut in range(len(seen) - 1):
                again = await events(running, path, last=seen[cut][1])
                # Progress is live only: a replay has what is kept.
                assert [one[:2] for one in again] == [one[:2] for one in seen[cut + 1 :] if one[0] != "job.progress"]
            logs = await events(running, f"/v1/jobs/{job_id}/logs")
            assert [name for name, _, _ in logs] == ["job.log", "job.log", "stream.end"]
            headers = {"Accept": "text/event-stream"}
            assert (await running.http.get(f"/v1/jobs/{new_id('job')}/events", headers=headers)).status_code == 404

    asyncio.run(story())


def test_streams_end_at_once_when_the_gateway_drains(yard: Any) -> None:
    job_id = new_id("job")

    async def story() -> None:
        yard.stand_in.jobs[job_id] = shown(job_id, "running")
        yard.stand_in.events[job_id] = [{"seq": 1, "state": "running", "attempt": 1, "output_seq": 0}]
        async with yard.running() as running:
            following = asyncio.create_task(events(running, f"/v1/jobs/{job_id}/events"))
            await asyncio.sleep(0.5)
            began = asyncio.get_running_loop().time()
            await running.gateway.components[-1].drain()
            assert [name for name, _, _ in await following] == ["job.state"]
            assert asyncio.get_running_loop().time() - began < 2

    asyncio.run(story())


def test_waiting_submits_answer_with_the_end(yard: Any) -> None:
    async def story() -> None:
        await yard.define(TOOL)
        async with yard.running() as running:
            await eventually(lambda: tool_known(running.http), what="the tool")
            waiting = asyncio.create_task(
                running.http.post("/v1/jobs", json={"tool": "echo"}, headers={"Prefer": "wait=10"})
            )
            (record,) = await yard.records("jobs.commands", count=1)
            job_id = record.key.decode()
            event = {
                "job": shown(job_id, "succeeded"),
                "tenant": "tnt_default",
                "incarnation": 1,
                "event_no": 2,
                "output_seq": 0,
                "actor": {"kind": "worker", "id": "w"},
            }

            async def answered() -> bool:
                """The live tail of a gateway that has just started may still be looking for its partitions."""
                await yard.produce("jobs.events", [(record.key, json.dumps(event).encode())])
                return waiting.done()

            await eventually(answered, what="the answer", every_s=0.2)
            answer = await waiting
            assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
            assert answer.headers["Preference-Applied"] == "wait=10"
            late = await running.http.post("/v1/jobs", json={"tool": "echo"}, headers={"Prefer": "wait=1"})
            assert (late.status_code, late.json()["state"]) == (202, "accepted")

    asyncio.run(story())


def test_files_pass_through_as_they_are(yard: Any) -> None:
    async def story() -> None:
        async with yard.running(public_url="https://yard.example") as running:
            body = bytes(range(256)) * 20_000

            async def parts() -> Any:
                for start in range(0, len(body), 100_000):
                    yield body[start : start + 100_000]

            path = f"/v1/files/{new_id('file')}"
            headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "X-Jobyard-Tenant": "forged", "Cookie": "a=b"}
            sent = await running.http.patch(path, content=parts(), headers=headers)
            assert (sent.status_code, sent.headers["Upload-Offset"]) == (204, str(len(body)))
            assert "X-Hop" not in sent.headers
            assert yard.stand_in.uploaded == body
            given = yard.stand_in.asked[-1][2]
            assert given["x-jobyard-tenant"] == "tnt_default"
            assert given["x-jobyard-public-url"] == "https://yard.example"
            assert given["authorization"] == "Bearer token"
            assert given["tus-resumable"] == "1.0.0" and "cookie" not in given
            got = await running.http.get(f"{path}/content", headers={"Range": "bytes=0-1"})
            assert (got.status_code, got.headers["Content-Range"]) == (206, "bytes 0-1/2")
            assert got.content == b"".join(bytes([n]) * 65_536 for n in range(64))
            assert yard.stand_in.asked[-1][2]["range"] == "bytes=0-1"
            async with httpx.AsyncClient(base_url=running.url) as bare:
                assert (await bare.patch(path, content=b"x")).status_code == 401

    asyncio.run(story())


def test_tenants_and_keys(yard: Any) -> None:
    async def story() -> None:
        async with yard.running() as running:
            http = running.http
            tenant = (await http.post("/v1/tenants", json={"name": "shop"})).json()["id"]
            made = await http.post("/v1/api-keys", json={"tenant_id": tenant, "name": "reader", "role": "admin"})
            assert made.status_code == 201, made.text
            key = made.json()
            async with httpx.AsyncClient(
                base_url=running.url, headers={"Authorization": f"Bearer {key['key']}"}
            ) as other:
                me = (await other.get("/v1/me")).json()
                assert (me["tenant_id"], me["role"]) == (tenant, "admin")
                assert (await other.post("/v1/tenants", json={"name": "x"})).status_code == 403
                foreign = await other.post("/v1/api-keys", json={"tenant_id": "tnt_default", "name": "x"})
                assert [row["pointer"] for row in foreign.json()["errors"]] == ["/tenant_id"]
                more = await other.post("/v1/api-keys", json={"name": "x", "role": "operator"})
                assert more.status_code == 403
                listed = (await other.get("/v1/api-keys")).json()["data"]
                assert [row["id"] for row in listed] == [key["id"]]
                assert "key" not in listed[0] and "hash" not in listed[0]
                assert (await http.delete(f"/v1/api-keys/{key['id']}")).status_code == 404, "another tenant's key"
                assert (await other.delete(f"/v1/api-keys/{key['id']}")).status_code == 204
                assert (await other.get("/v1/me")).status_code == 401
            bad = await http.post("/v1/api-keys", json={"name": "", "role": "king", "bogus": 1, "scopes": ["x"]})
            assert sorted(row["pointer"] for row in bad.json()["errors"]) == ["/bogus", "/name", "/role", "/scopes/0"]
            audit = [json.loads(record.value) for record in await yard.records("audit", count=3)]
            assert [row["action"] for row in sorted(audit, key=lambda row: row["at"])] == [
                "tenant.create", "api_key.create", "api_key.revoke",
            ]  # fmt: skip

    asyncio.run(story())
