"""Running tools bare: commands as a worker starts them, but without a sandbox; functions in this process."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jobyard.author.testing import Trial
from jobyard_executor.tools import catalogue
from jobyard_executor.tools.argv import SEARCH_PATH
from jobyard_executor.tools.catalogue import Catalogue
from jobyard_executor.tools.command import CommandTool
from jobyard_executor.tools.tables.profile import profile


@dataclass
class Ran:
    """What a command tool left behind; `value` is None without a result.json."""

    returncode: int
    stdout: bytes
    stderr: bytes
    channel: list[dict[str, Any]]
    folder: Path

    @property
    def value(self) -> Any:
        path = self.folder / "result.json"
        return json.loads(path.read_bytes()) if path.exists() else None

    @property
    def outputs(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.folder / "out").iterdir())}


class Command:
    """A command tool that runs. Use as a context manager."""

    def __init__(
        self, tool: CommandTool, parameters: Mapping[str, Any], folder: Path, files: Mapping[str, bytes]
    ) -> None:
        self.folder = folder
        for name in ("in", "out", "tmp"):
            (folder / name).mkdir(parents=True)
        for slot, content in files.items():
            (folder / "in" / slot).write_bytes(content)
        (folder / "parameters.json").write_text(json.dumps(parameters))
        self._channel, tell = os.pipe()
        environment = {
            "JOBYARD_JOB_ID": "job_test",
            "JOBYARD_ATTEMPT": "1",
            "JOBYARD_FENCE": "1",
            "JOBYARD_DEADLINE": "",
            "JOBYARD_CHANNEL_FD": "3",
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "PATH": SEARCH_PATH,
        }
        # A shell gives the tool descriptor 3, whatever ours is called.
        argv = ["/bin/bash", "-c", f'exec "$@" 3>&{tell} {tell}>&-', "-", *tool.argv]
        if tell == 3:
            argv = list(tool.argv)
        self.process = subprocess.Popen(
            argv,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(tell,),
        )
        os.close(tell)

    def finish(self) -> Ran:
        stdout, stderr = self.process.communicate(timeout=60)
        with os.fdopen(self._channel, "rb") as channel:
            lines = [json.loads(line) for line in channel]
        return Ran(self.process.returncode, stdout, stderr, lines, self.folder)


RunCommand = Callable[..., Ran]


@pytest.fixture(scope="session")
def tools() -> Catalogue:
    """Everything that is shipped."""
    return catalogue.load(["test"], enable_shell=True)


@pytest.fixture
def begin(tools: Catalogue, tmp_path: Path) -> Callable[..., Command]:
    """Start a command tool by name."""
    count = iter(range(100))

    def start(
        name: str, parameters: Mapping[str, Any] | None = None, files: Mapping[str, bytes] | None = None
    ) -> Command:
        return Command(tools.commands[name, "1"], parameters or {}, tmp_path / f"job{next(count)}", files or {})

    return start


@pytest.fixture
def run_command(begin: Callable[..., Command]) -> RunCommand:
    """Run a command tool by name to its end."""

    def run(name: str, parameters: Mapping[str, Any] | None = None, files: Mapping[str, bytes] | None = None) -> Ran:
        return begin(name, parameters, files).finish()

    return run


@pytest.fixture
def trial(tools: Catalogue, tmp_path: Path) -> Callable[..., Trial]:
    def make(name: str, parameters: dict[str, Any] | None = None, **options: Any) -> Trial:
        return Trial(tools.functions[name, "1"], parameters, folder=tmp_path, **options)

    return make


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Trial]:
    def trial(content: bytes, name: str = "data", **parameters: Any) -> Trial:
        path = tmp_path / name
        path.write_bytes(content)
        return Trial(profile, parameters, folder=tmp_path, files={"data": path})

    return trial


@pytest.fixture
def profiled(make: Callable[..., Trial]) -> Callable[..., dict[str, Any]]:
    def run(content: bytes, name: str = "data", **parameters: Any) -> dict[str, Any]:
        value = make(content, name, **parameters).run()
        assert isinstance(value, dict)
        return value

    return run
