"""The command line of a service: serve, migrate, its own commands, and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence

import pytest
from jobyard_common.runtime.entry import WrongUsage, enter
from jobyard_common.settings import CommonSettings, SettingsInvalid


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBYARD_POSTGRES_DSN", "postgresql://x@/y")
    monkeypatch.setenv("JOBYARD_KAFKA_BOOTSTRAP", "127.0.0.1:1")


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR2)
    yield
    signal.signal(signal.SIGUSR2, before)


def call(arguments: Sequence[str], *, missing: bool = False) -> tuple[int, list[str]]:
    """The exit code, and what was called."""
    called: list[str] = []

    async def serve(settings: CommonSettings) -> int:
        called.append(f"serve {settings.kafka_bootstrap}")
        if missing:
            raise SettingsInvalid("set JOBYARD_SERVICE_TOKEN")
        return 1

    def own(rest: Sequence[str], load: Callable[[], CommonSettings]) -> int:
        if "wrong" in rest:
            raise WrongUsage("wrong is no topic")
        called.append(f"own {list(rest)} {load().kafka_bootstrap}")
        return 5

    code = enter(
        arguments,
        usage="use it so",
        settings=CommonSettings,
        serve=serve,
        migrate=lambda settings: called.append(f"migrate {settings.postgres_dsn}"),
        commands={"own": own},
    )
    return code, called


@pytest.mark.parametrize(
    ("arguments", "code", "called"),
    [
        ([], 1, ["serve 127.0.0.1:1"]),
        (["migrate"], 0, ["migrate postgresql://x@/y"]),
        (["own"], 5, ["own [] 127.0.0.1:1"]),
        (["own", "a", "b"], 5, ["own ['a', 'b'] 127.0.0.1:1"]),
    ],
)
def test_each_command_is_called_and_its_code_returned(arguments: list[str], code: int, called: list[str]) -> None:
    assert call(arguments) == (code, called)


@pytest.mark.parametrize("arguments", [["bogus"], ["migrate", "now"], [""], ["--help"]])
def test_anything_else_prints_the_usage_and_starts_nothing(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOBYARD_POSTGRES_DSN")
    assert call(arguments) == (2, [])
    assert capsys.readouterr().err == "use it so\n"


def test_a_command_and_the_service_say_themselves_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["own", "wrong"])[0] == 2
    assert call([], missing=True)[0] == 2
    assert capsys.readouterr().err == "wrong is no topic\nset JOBYARD_SERVICE_TOKEN\n"


def test_who_asks_a_process_that_still_starts_does_not_kill_it() -> None:
    async def serve(_settings: CommonSettings) -> int:
        os.kill(os.getpid(), signal.SIGUSR2)
        return 0

    assert enter([], usage="", settings=CommonSettings, serve=serve, migrate=lambda _settings: None) == 0
