"""The test pack's processes: signals they hear or ignore, markers they carry, trees they plant."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jobyard.author.testing import Trial
from jobyard_executor.tools.test.arguments import carrying

MARKER = f"mark-{secrets.token_hex(8)}"
"""Of this run alone: several may share a machine."""


def until(condition: Callable[[], bool], *, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def marked(marker: str) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


@pytest.mark.parametrize(
    ("parameters", "returncode", "value"),
    [
        ({"on_soft_limit": "raise"}, -signal.SIGTERM, None),
        ({"on_soft_limit": "finish"}, 0, {"interrupted": True}),
    ],
)
def test_a_script_hears_sigterm(parameters: dict[str, Any], returncode: int, value: Any, begin: Any) -> None:
    command = begin("test.sleep.command", {"seconds": 60, "marker": MARKER, **parameters})
    until(lambda: _listens(command.process.pid, parameters))
    command.process.terminate()
    ran = command.finish()
    assert (ran.returncode, ran.value) == (returncode, value)


@pytest.mark.parametrize("deaf", [{"on_soft_limit": "ignore"}, {"ignore_sigterm": True}])
def test_a_script_may_be_deaf(deaf: dict[str, Any], begin: Any) -> None:
    command = begin("test.sleep.command", {"seconds": 0.6, "steps": 2, "marker": MARKER, **deaf})
    until(lambda: _ignores(command.process.pid))
    command.process.terminate()
    ran = command.finish()
    assert (ran.returncode, ran.value) == (0, {"slept": 0.6})
    assert [line["progress"]["note"] for line in ran.channel] == ["step 1", "step 2"]


def _masks(pid: int) -> dict[str, int]:
    text = Path(f"/proc/{pid}/status").read_text()
    return {
        line[:6]: int(line.split()[1], 16) for line in text.splitlines() if line.startswith(("SigB", "SigI", "SigC"))
    }


def _ignores(pid: int) -> bool:
    return bool(_masks(pid)["SigIgn"] & 1 << (signal.SIGTERM - 1)) and MARKER.encode() in _arguments(pid)


def _listens(pid: int, parameters: dict[str, Any]) -> bool:
    bit = 1 << (signal.SIGTERM - 1)
    masks = _masks(pid)
    caught = masks["SigCgt"] & bit if parameters["on_soft_limit"] == "finish" else True
    return bool(caught) and not masks["SigBlk"] & bit and MARKER.encode() in _arguments(pid)


def _arguments(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize("marker", ["mark-short", "é" * 200, "x" * 200])
def test_a_warm_process_carries_the_marker_only_for_a_while(marker: str) -> None:
    before = _arguments(os.getpid())
    for _ in range(3):
        with carrying(marker):
            assert marker.encode() in _arguments(os.getpid())
        assert _arguments(os.getpid()) == before
    with carrying(""):
        assert _arguments(os.getpid()) == before


def test_a_long_marker_fits_a_short_command_line(tmp_path: Path) -> None:
    code = (
        "from jobyard_executor.tools.test.arguments import carrying\n"
        "own = open('/proc/self/cmdline', 'rb').read\n"
        "import pathlib\n"
        "look = pathlib.Path('/proc/self/cmdline').read_bytes\n"
        "before = look()\n"
        "with carrying('m' * 800):\n"
        "    assert b'm' * 800 in look(), look()\n"
        "    [bytearray(100_000) for _ in range(100)]\n"
        "assert look() == before\n"
        "print('ok', end='')\n"
    )
    script = tmp_path / "s.py"
    script.write_text(code)
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"ok", b"")


def test_sleep_in_a_process_shows_its_marker(trial: Callable[..., Trial]) -> None:
    seen: list[bytes] = []

    class Looking(list):  # type: ignore[type-arg]
        def append(self, step: Any) -> None:
            seen.append(_arguments(os.getpid()))

    sleeping = trial("test.sleep.process", {"seconds": 0.01, "steps": 1, "marker": MARKER})
    sleeping.backend.steps = Looking()
    sleeping.run()
    assert MARKER.encode() in seen[0]
    assert MARKER.encode() not in _arguments(os.getpid())


def test_ignore_sigterm_ends_with_the_job(trial: Callable[..., Trial]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    trial("test.sleep.process", {"seconds": 0, "ignore_sigterm": True}).run()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture
def no_trees() -> Iterator[None]:
    """Ends what the tests of bad manners leave behind."""
    yield
    for pid in marked(MARKER) - {os.getpid()}:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("no_trees")
@pytest.mark.parametrize("evil", [False, True])
def test_tree_as_a_script(evil: bool, begin: Any) -> None:
    traits = dict.fromkeys(("setsid", "double_fork", "ignore_sigterm", "hold_pipes"), evil)
    command = begin("test.tree.command", {"marker": MARKER, "children": 4, "seconds": 120, **traits})
    assert command.process.stdout is not None
    assert command.process.stdout.readline() == b"ready\n"
    pids = marked(MARKER)
    assert len(pids) == 5
    children = pids - {command.process.pid}
    for pid in children:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        assert (int(fields[1]) != command.process.pid) == evil, "orphaned by a double fork"
        assert (int(fields[3]) == pid) == evil, "in a session of its own"
        assert bool(_masks(pid)["SigIgn"] & 1 << (signal.SIGTERM - 1)) == evil
        assert (Path(f"/proc/{pid}/fd/1").readlink() == Path("/dev/null")) != evil
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not marked(MARKER))
    command.finish()


@pytest.mark.usefixtures("no_trees")
def test_tree_in_a_process(trial: Callable[..., Trial], capfd: pytest.CaptureFixture[str]) -> None:
    planted = trial("test.tree.process", {"marker": MARKER, "children": 2, "seconds": 0.5})
    assert planted.run() == {"children": 2}
    assert capfd.readouterr().out == "ready\n"
    until(lambda: not marked(MARKER))
