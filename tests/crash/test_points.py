"""SIGKILL at every named point, on real servers, then a restart; the numbers are those of docs/reliability.md.

Each test says what the killed process leaves, and ends with all invariants of all jobs so far.
"""

from __future__ import annotations

import hashlib
import secrets

import httpx
import pytest
from jobyard_common.db.migrate import at_head
from jobyard_local.schemas import dsn_of, ensure_database, ensure_schemas, role_of

from tests.chaos.facts import Facts
from tests.crash.conftest import Go, drop
from tests.crash.scene import TUS, Scene, processes_with
from tests.support.proxy import Mode, Proxy, kafka_rewrite, to_tcp

pytestmark = [pytest.mark.serial, pytest.mark.timeout(150)]
RERUN = ["worker_lost", "succeeded"]


@pytest.mark.parametrize("point", ["K1", "K2", "K3"])
def test_gateway_dies_around_the_send(scene: Scene, go: Go, point: str) -> None:
    """Whether the command is in Kafka or not: the client's second try names one job, which runs once."""

    async def story() -> None:
        await scene.arm("gateway-1", point)
        draft = scene.draft("test.echo", {"value": point})
        with pytest.raises(httpx.TransportError):
            await draft.send()
        await scene.until_dead("gateway-1")
        await scene.heal("gateway-1")
        job_id = await draft.promised()
        assert verdicts(await scene.sound(), job_id) == ["succeeded"]

    go(story())


def test_gateway_dies_while_kafka_has_the_command_and_says_nothing(scene: Scene, go: Go) -> None:
    """K2 with the record certainly written: answers of the broker are held back until after the kill."""

    async def story() -> None:
        host, _, port = scene.ground.kafka.partition(":")
        wire = Proxy(to_tcp(host, int(port)))
        wire.rewrite = kafka_rewrite(int(port), wire)
        await wire.start()
        await scene.arm("gateway-1", "K2:2:300", JOBYARD_KAFKA_BOOTSTRAP=f"127.0.0.1:{wire.port}")
        # The first send of a producer asks for its identity; the second one only sends.
        await scene.run("test.noop")
        wire.set(Mode.ONE_WAY)
        draft = scene.draft("test.echo", {"value": 2})
        with pytest.raises(httpx.TransportError):
            await draft.send()
        await scene.until_dead("gateway-1")
        await wire.stop()

        async def ran() -> bool:
            return any(job.n == draft.n and job.state == "succeeded" for job in (await scene.facts()).jobs.values())

        await scene.until(ran, what="the job that nobody was told of")
        await scene.heal("gateway-1")
        job_id = await draft.promised()
        assert verdicts(await scene.sound(), job_id) == ["succeeded"]

    go(story())


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("K4", ["succeeded"]),
        ("K5", ["succeeded"]),
        ("K6", ["succeeded"]),
        ("K7", RERUN),
        ("K9", RERUN),
        ("K10", RERUN),
        ("K11", ["succeeded"]),
    ],
)
def test_executor_dies(scene: Scene, go: Go, point: str, expected: list[str]) -> None:
    """Before its result is committed an attempt counts as lost and the job runs again; nothing is recorded twice."""

    async def story() -> None:
        await scene.arm("executor-1", point)
        job_id = await scene.run("test.echo", {"value": point})
        await scene.until_dead("executor-1")
        await scene.heal("executor-1")
        assert verdicts(await scene.sound(), job_id) == expected

    go(story())


def test_executor_dies_while_a_tool_runs(scene: Scene, go: Go) -> None:
    """K8: the tool's process ends with its executor, and the job runs again."""

    async def story() -> None:
        marker = f"crash-{secrets.token_hex(8)}"
        await scene.arm("executor-1", "K8")
        job_id = await scene.run("test.sleep.process", {"seconds": 2, "steps": 8, "marker": marker})
        await scene.until_dead("executor-1")

        async def gone() -> bool:
            return not list(processes_with(marker))

        await scene.until(gone, what="the end of the tool", timeout_s=5)
        await scene.heal("executor-1")
        assert verdicts(await scene.sound(), job_id) == RERUN

    go(story())


def test_relay_dies_between_publishing_and_deleting(scene: Scene, go: Go) -> None:
    """K12: the event comes twice, equal byte for byte, and no reader minds."""

    async def story() -> None:
        await scene.arm("executor-1", "K12")
        job_id = await scene.run("test.echo", {"value": 12})
        await scene.until_dead("executor-1")
        await scene.heal("executor-1")
        events = (await scene.sound()).events[job_id]
        assert len(events) > len({event.event_no for event in events})

    go(story())


@pytest.mark.parametrize("point", ["K13", "K13:2", "K6"])
def test_monitor_dies_around_a_projection(scene: Scene, go: Go, point: str) -> None:
    """Before, inside and after its transaction: the projection is what the events say."""

    async def story() -> None:
        await scene.arm("monitor-1", point)
        job_id = await scene.run("test.echo", {"value": point})
        await scene.until_dead("monitor-1")
        await scene.heal("monitor-1")
        assert (await scene.sound()).seen[job_id][0] == "succeeded"

    go(story())


@pytest.mark.parametrize(("point", "size"), [("K15", 1_000_000), ("K15", 1000), ("K15:2", 1000)])
def test_files_dies_during_an_upload(scene: Scene, go: Go, point: str, size: int) -> None:
    """In the middle of the bytes, before the last offset, before the seal: what was acknowledged is there, the
    upload goes on from the offset that HEAD tells, and no row points at missing bytes."""

    async def story() -> None:
        content = secrets.token_bytes(size)
        await scene.arm("files-1", point)
        url = await scene.new_upload(size)
        try:
            answer = await scene.upload(content, url=url)
            assert answer.status_code >= 500, answer.text
        except httpx.TransportError as error:
            assert isinstance(error, httpx.TransportError)
        await scene.until_dead("files-1")
        await scene.heal("files-1")

        async def finished() -> bool:
            told = await scene.call("HEAD", url, headers=TUS)
            if told.status_code != 200:
                return False
            offset = int(told.headers["Upload-Offset"])
            if offset == size:
                return True
            sent = await scene.upload(content[offset:], url=url, offset=offset)
            return sent.status_code == 204

        await scene.until(finished, what="the whole upload")
        file_id, sha256 = url.rsplit("/", 1)[-1], hashlib.sha256(content).hexdigest()
        scene.account.uploaded[file_id] = sha256
        assert (await scene.sound()).files[file_id] == ("ready", sha256)

    go(story())


def test_migration_dies_half_way(scene: Scene, go: Go) -> None:
    """K16: nothing of it is there, and the next one (even two at once) brings the schema to its head."""

    async def story() -> None:
        name = f"crash_{secrets.token_hex(5)}"
        server = dsn_of(scene.ground.postgres, database="postgres")
        dsn = dsn_of(scene.ground.postgres, database=name, user=role_of("executor"))
        await ensure_database(server, database=name)
        try:
            await ensure_schemas(server, database=name, services=["executor"])
            own = {"JOBYARD_POSTGRES_DSN": dsn}
            assert await scene.cast.once("executor", "migrate", **own, JOBYARD_CRASH_AT="K16:4") == -9
            assert not await at_head(dsn, package="jobyard_executor", schema="executor")
            assert await scene.cast.once("executor", "migrate", **own) == 0
            assert await at_head(dsn, package="jobyard_executor", schema="executor")
        finally:
            await drop(server, name)

    go(story())


def verdicts(facts: Facts, job_id: str) -> list[str]:
    return [attempt.verdict for attempt in facts.attempts[job_id]]
