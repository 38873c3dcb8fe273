from __future__ import annotations

import asyncio
import os
import random
import signal

import pytest
from jobyard_common.messaging.offsets import Progress
from jobyard_common.runtime.backoff import delays
from jobyard_common.runtime.health import Readiness
from jobyard_common.runtime.supervisor import Component, run_service
from jobyard_common.settings import CommonSettings, SettingsInvalid, load_settings


class Noted(Component):
    def __init__(self, name: str, story: list[str], *, fails: bool = False) -> None:
        super().__init__()
        self.name = name
        self._story = story
        self._fails = fails

    async def start(self) -> None:
        self._story.append(f"start {self.name}")
        if self._fails:
            self.spawn(self._break(), name="work")

    async def _break(self) -> None:
        raise RuntimeError("broken")

    async def drain(self) -> None:
        self._story.append(f"drain {self.name}")

    async def stop(self) -> None:
        self._story.append(f"stop {self.name}")
        await super().stop()


def test_a_signal_drains_then_stops_in_reverse_order() -> None:
    story: list[str] = []

    async def run() -> int:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
        return await run_service([Noted("a", story), Noted("b", story)], readiness=Readiness())

    assert asyncio.run(run()) == 0
    assert story == ["start a", "start b", "drain b", "drain a", "stop b", "stop a"]


def test_a_failed_task_ends_the_service_with_an_error() -> None:
    story: list[str] = []
    code = asyncio.run(run_service([Noted("a", story, fails=True)], readiness=Readiness()))
    assert (code, story[-1]) == (1, "stop a")


def test_pauses_double_up_to_their_cap() -> None:
    pauses = delays(first_s=1, cap_s=5, share=0, dice=random.Random(1))
    assert [next(pauses) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_readers_wait_for_their_own_writes() -> None:
    async def run() -> tuple[bool, bool, bool]:
        progress = Progress()
        progress.advance(0, 5)
        already = await progress.wait({0: 4}, timeout_s=0.01)
        never = await progress.wait({0: 5}, timeout_s=0.01)
        asyncio.get_running_loop().call_later(0.02, progress.advance, 0, 6)
        return already, never, await progress.wait({0: 5}, timeout_s=2)

    assert asyncio.run(run()) == (True, False, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOBYARD_HTTP_PORT", "99999"),
        ("JOBYARD_HTTP_PORT", "many"),
        ("JOBYARD_TOPIC_PREFIX", "a b"),
        ("JOBYARD_CELL", "il"),
        ("JOBYARD_LOG_LEVEL", "loud"),
        ("JOBYARD_EXECUTOR_URL", "ftp://x"),
        ("JOBYARD_INSTANCE_ID", "../x"),
        ("JOBYARD_POSTGRES_POOL_SIZE", "0"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOBYARD_POSTGRES_DSN", "postgresql:///x")
    monkeypatch.setenv("JOBYARD_KAFKA_BOOTSTRAP", "localhost:1")
    load_settings(CommonSettings)
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        load_settings(CommonSettings)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"{name}: ")


def test_a_missing_setting_is_named_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("JOBYARD_POSTGRES_DSN", raising=False)
    monkeypatch.setenv("JOBYARD_KAFKA_BOOTSTRAP", "localhost:1")
    with pytest.raises(SystemExit):
        load_settings(CommonSettings)
    assert "JOBYARD_POSTGRES_DSN" in capsys.readouterr().err


def test_the_service_token_comes_from_a_file_or_is_asked_for(tmp_path: object) -> None:
    settings = CommonSettings(postgres_dsn="postgresql:///x", kafka_bootstrap="localhost:1")
    with pytest.raises(SettingsInvalid, match="JOBYARD_SERVICE_TOKEN"):
        settings.token()


def test_partitions_that_moved_to_another_process_are_not_vouched_for() -> None:
    async def story() -> None:
        progress = Progress()
        progress.follow({1: 5, 2: 7})
        progress.advance(1, 6)
        assert progress.passed(1, 5) and progress.passed(2, 6)
        progress.follow({2: 7})
        assert set(progress.next) == {2}
        waiting = asyncio.create_task(progress.wait({3: 8}, timeout_s=10))
        await asyncio.sleep(0)
        progress.follow({2: 7, 3: 9})
        assert await waiting

    asyncio.run(story())
