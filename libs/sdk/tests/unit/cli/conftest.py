from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jobyard.cli.main import main
from jobyard.client.testing import FakeYard


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The one document of --json; fails if there is anything else."""
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]


Call = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No setting of the machine's user reaches a test; the working folder is empty."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    for name in (
        "JOBYARD_URL",
        "JOBYARD_API_KEY",
        "JOBYARD_HOME",
        "JOBYARD_DEBUG",
        "XDG_CONFIG_HOME",
        "XDG_STATE_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def fake() -> Iterator[FakeYard]:
    with FakeYard() as yard:
        yield yard


@pytest.fixture
def logged_in(fake: FakeYard, monkeypatch: pytest.MonkeyPatch) -> FakeYard:
    monkeypatch.setenv("JOBYARD_URL", fake.url)
    monkeypatch.setenv("JOBYARD_API_KEY", fake.api_key)
    return fake


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process, over real HTTP."""

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["jobyard", *arguments])
        code = main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Outcome(code, out, err)

    return run
