"""Ways to start and to end that are not the usual ones: a broker or jars of the user's own, a taken port, haste."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobyard_local.running import SECOND_CALL_S
from jobyard_local.servers.jars import cache_folder, ensure_jars
from jobyard_local.servers.kafka import speaks_kafka
from jobyard_local.servers.set import Addresses

from .stack import Run, living, until

pytestmark = [pytest.mark.serial, pytest.mark.timeout(300)]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    launched = Run(tmp_path / "home")
    yield launched
    launched.end()


def answering(bootstrap: str) -> bool:
    host, _, port = bootstrap.rpartition(":")
    return asyncio.run(speaks_kafka(host, int(port), timeout_s=10))


def programs(home: Path) -> list[str]:
    """What the processes of a home execute, by their file names."""
    return [Path(f"/proc/{pid}/exe").readlink().name for pid in living(home)]


def test_a_broker_of_the_users_own_is_used_and_left_alone(run: Run, servers: Addresses, topic_prefix: str) -> None:
    run.start(JOBYARD_KAFKA=f"127.0.0.1:1, {servers.kafka}", JOBYARD_TOPIC_PREFIX=topic_prefix)
    stack = run.until_ready()
    assert stack["broker"] == {"kind": "kafka", "bootstrap": f"127.0.0.1:1, {servers.kafka}", "pid": None}
    assert "java" not in programs(run.home)
    until(lambda: "12,028 rows" in run.said(), within_s=60)
    run.send(signal.SIGTERM)
    assert run.wait(timeout_s=25) == 0
    assert living(run.home) == []
    assert answering(servers.kafka)


@pytest.mark.parametrize("given", ["127.0.0.1:1", "nonsense", "127.0.0.1:port", "127.0.0.1:99999"])
def test_a_broker_that_is_none_is_told_in_a_sentence(run: Run, given: str) -> None:
    run.start(JOBYARD_KAFKA=given)
    assert run.wait(timeout_s=60) == 1
    assert f"no Kafka answers at JOBYARD_KAFKA={given}; start it, or unset the variable" in run.said()
    assert "Traceback" not in run.said()
    assert living(run.home) == []


def test_jars_of_the_users_own_are_enough_and_a_second_interrupt_ends_everything_at_once(
    run: Run, tmp_path: Path
) -> None:
    libs = tmp_path / "libs"
    libs.mkdir()
    for jar in ensure_jars(cache_folder(), say=print).glob("*.jar"):
        (libs / jar.name).hardlink_to(jar)
    # a cache that nothing can be put into: what is not in the folder would be missed
    run.start(JOBYARD_KAFKA_LIBS=str(libs), JOBYARD_CACHE="/proc/nowhere")
    stack = run.until_ready()
    assert str(libs) in Path(f"/proc/{stack['broker']['pid']}/cmdline").read_text()

    executor = next(row["pid"] for row in stack["services"] if row["name"] == "executor")
    os.kill(executor, signal.SIGSTOP)
    run.send(signal.SIGINT)
    until(lambda: "Ctrl-C again ends everything at once" in run.said(), within_s=10)
    asked = time.monotonic()
    until(lambda: time.monotonic() - asked > SECOND_CALL_S + 0.2, within_s=10)
    assert not run.ended, "a frozen executor holds the orderly stop"
    run.send(signal.SIGINT)
    assert run.wait(timeout_s=6) == 0
    until(lambda: living(run.home) == [], within_s=2)


def test_an_interrupt_while_jars_are_fetched_waits_for_nothing(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mirror = f"http://127.0.0.1:{mute.getsockname()[1]}"
        run.start(JOBYARD_CACHE=str(tmp_path / "cache"), JOBYARD_MAVEN_REPOSITORY=mirror)
        mute.settimeout(60)
        with mute.accept()[0]:
            run.send(signal.SIGINT)
            assert run.wait(timeout_s=20) == 0
    assert living(run.home) == []


def test_a_killed_launcher_leaves_nothing_while_it_starts(run: Run) -> None:
    run.start()
    until(lambda: "postgres" in programs(run.home), within_s=60)
    run.send(signal.SIGKILL)
    run.wait(timeout_s=5)
    until(lambda: living(run.home) == [], within_s=5)


def test_a_taken_port_names_its_owner_and_starts_nothing(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as owner:
        port = owner.getsockname()[1]
        run.start(port=str(port))
        assert run.wait(timeout_s=30) == 1
    assert f"port {port} is taken by process {os.getpid()} (" in run.said()
    assert "JOBYARD_PORT=0" in run.said()
    assert "Traceback" not in run.said()
    assert living(run.home) == []
