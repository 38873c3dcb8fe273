"""The test pack, as acceptance and load tests rely on it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobyard.author import Cancelled, SoftLimitReached, ToolError, ToolFunction
from jobyard.author.errors import CANCEL, SOFT_LIMIT
from jobyard.author.testing import Trial
from jobyard_executor.tools.catalogue import Catalogue

BOTH = ("", ".process")


@pytest.mark.parametrize("variant", BOTH)
@pytest.mark.parametrize("value", [None, "é\U0001f600\n", {"b": 1, "a": [True, -0.5]}, int("9" * 400), 1e308])
def test_echo(variant: str, value: Any, trial: Callable[..., Trial]) -> None:
    echoed = trial(f"test.echo{variant}", {"value": value}).run()
    assert echoed == value
    assert json.dumps(echoed) == json.dumps(value)


def test_echo_as_a_script(run_command: Callable[..., Any]) -> None:
    value = {"b": int("9" * 400), "a": [1.5, "é\U0001f600"], "": None}
    ran = run_command("test.echo.command", {"value": value})
    assert json.dumps(ran.value) == json.dumps(value)
    assert run_command("test.echo.command").value is None


@pytest.mark.parametrize("variant", BOTH)
def test_noop(variant: str, trial: Callable[..., Trial]) -> None:
    assert trial(f"test.noop{variant}").run() is None


def test_noop_as_a_script(run_command: Callable[..., Any]) -> None:
    ran = run_command("test.noop.command")
    assert (ran.returncode, ran.stdout, ran.stderr, ran.value) == (0, b"", b"", None)


@pytest.mark.parametrize("variant", BOTH)
def test_fail(variant: str, trial: Callable[..., Trial]) -> None:
    with pytest.raises(ToolError) as caught:
        trial(f"test.fail{variant}", {"message": "no luck", "code": "luck", "retryable": False}).run()
    assert (caught.value.message, caught.value.code, caught.value.retryable) == ("no luck", "luck", False)
    with pytest.raises(ToolError, match="failed on purpose") as caught:
        trial(f"test.fail{variant}").run()
    assert (caught.value.code, caught.value.retryable) == ("test_failure", True)


def test_fail_as_a_script(run_command: Callable[..., Any]) -> None:
    ran = run_command("test.fail.command", {"message": "out of paper", "exit_code": 42})
    assert (ran.returncode, ran.stderr, ran.channel) == (42, b"out of paper\n", [])
    final = run_command("test.fail.command", {"retryable": False})
    assert (final.returncode, final.channel[0]["error"]["retryable"]) == (1, False)


@pytest.mark.parametrize("variant", BOTH)
def test_flaky(variant: str, trial: Callable[..., Trial]) -> None:
    for attempt in (1, 2):
        with pytest.raises(ToolError) as caught:
            trial(f"test.flaky{variant}", {"failures": 2}, attempt=attempt).run()
        assert (caught.value.code, caught.value.retryable) == ("test_flaky", True)
    assert trial(f"test.flaky{variant}", {"failures": 2}, attempt=3).run() == {"attempt": 3}


@pytest.mark.parametrize("variant", BOTH)
def test_sleep_reports_its_steps(variant: str, trial: Callable[..., Trial]) -> None:
    sleeping = trial(f"test.sleep{variant}", {"seconds": 0.04, "steps": 4})
    assert sleeping.run() == {"slept": 0.04}
    assert sleeping.backend.steps == [(step, 4, f"step {step}") for step in range(1, 5)]
    assert trial(f"test.sleep{variant}", {"seconds": 0}).run() == {"slept": 0}


@pytest.mark.parametrize(("reason", "error"), [(SOFT_LIMIT, SoftLimitReached), (CANCEL, Cancelled)])
def test_sleep_hears_a_stop(reason: str, error: type[BaseException], trial: Callable[..., Trial]) -> None:
    for mode in ("raise", "finish", "ignore"):
        asked = trial("test.sleep.process", {"seconds": 0.05, "on_soft_limit": mode})
        asked.backend.stop = reason
        if mode == "raise":
            with pytest.raises(error):
                asked.run()
        else:
            assert asked.run() == ({"interrupted": True} if mode == "finish" else {"slept": 0.05})


@pytest.mark.parametrize("mode", ["raise", "finish", "ignore"])
def test_async_sleep_hears_a_stop(mode: str, trial: Callable[..., Trial]) -> None:
    async def scenario() -> Any:
        asked = trial("test.sleep", {"seconds": 0.05 if mode == "ignore" else 30, "on_soft_limit": mode})
        task = asyncio.ensure_future(asked.run_async())
        await asyncio.sleep(0)
        asked.backend.stop = SOFT_LIMIT
        task.cancel()
        return await task

    if mode == "raise":
        with pytest.raises(SoftLimitReached):
            asyncio.run(scenario())
    else:
        assert asyncio.run(scenario()) == ({"interrupted": True} if mode == "finish" else {"slept": 0.05})


@pytest.mark.parametrize("variant", BOTH)
def test_print(variant: str, trial: Callable[..., Trial], capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert trial(f"test.print{variant}", {"lines": 5, "stream": "both", "width": 8}).run() == {"lines": 5}
    out, err = capfdbinary.readouterr()
    assert out == b"line 1xx\nline 3xx\nline 5xx\n"
    assert err == b"line 2xx\nline 4xx\n"


def test_print_as_a_script(run_command: Callable[..., Any]) -> None:
    ran = run_command("test.print.command", {"lines": 1000, "stream": "both"})
    assert ran.stdout == b"".join(b"line %d\n" % n for n in range(1, 1001, 2))
    assert ran.stderr == b"".join(b"line %d\n" % n for n in range(2, 1001, 2))
    assert ran.value == {"lines": 1000}


def test_print_one_endless_line(run_command: Callable[..., Any]) -> None:
    ran = run_command("test.print.command", {"lines": 3, "newline": False, "stream": "stderr"})
    assert (ran.stdout, ran.stderr) == (b"", b"line 1line 2line 3")


@pytest.mark.parametrize("variant", BOTH)
def test_rubbish(variant: str, trial: Callable[..., Trial], capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    trial(f"test.print{variant}", {"lines": 2, "rubbish": True}).run()
    lines = capfdbinary.readouterr().out.splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines, start=1):
        assert line.startswith(b"line %d" % number)
        assert all(part in line for part in (b"\x00", b"\x1b[", b"\xff", b'{"level"'))


@pytest.mark.parametrize("variant", BOTH)
def test_log(variant: str, trial: Callable[..., Trial]) -> None:
    logging = trial(f"test.log{variant}", {"lines": 5})
    assert logging.run() == {"lines": 5}
    assert [(line.message, line.level, dict(line.fields)) for line in logging.backend.lines] == [
        (f"entry {n}", level, {"n": n}) for n, level in enumerate(("debug", "info", "warning", "error", "debug"), 1)
    ]


@pytest.mark.parametrize("variant", BOTH)
def test_count(variant: str, trial: Callable[..., Trial], tmp_path: Path) -> None:
    path = tmp_path / "effects"
    path.write_text("")
    counting = trial(f"test.count{variant}", {"path": str(path), "n": 7}, attempt=2, fence=9)
    assert counting.run() == {"n": 7, "square": 49, "attempt": 2, "fence": 9}
    first, last = map(json.loads, path.read_text().splitlines())
    assert (first["event"], last["event"]) == ("start", "end")
    assert set(first) == {"event", "job_id", "attempt", "fence", "n", "pid", "at"}
    assert (first["attempt"], first["fence"], first["pid"]) == (2, 9, os.getpid())
    with pytest.raises(ToolError, match="Cannot append"):
        trial(f"test.count{variant}", {"path": str(tmp_path / "missing")}).run()


@pytest.mark.parametrize("variant", BOTH)
def test_digest(variant: str, trial: Callable[..., Trial], tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "in").write_bytes(content)
    digesting = trial(f"test.digest{variant}", {"copy_as": "out.bin"}, files={"data": tmp_path / "in"})
    assert digesting.run() == {"size": 300_000, "sha256": hashlib.sha256(content).hexdigest()}
    assert digesting.outputs == {"out.bin": content}
    with pytest.raises(ToolError):
        trial(f"test.digest{variant}", {"copy_as": "../x"}, files={"data": tmp_path / "in"}).run()


def expected(seed: int, number: int, size: int) -> bytes:
    blocks = (hashlib.sha256(f"{seed}:{number}:{block}".encode()).digest() for block in range(-(-size // 32)))
    return b"".join(blocks)[:size]


def test_files(trial: Callable[..., Trial], run_command: Callable[..., Any]) -> None:
    wanted = {f"file-{n:06d}.bin": expected(9, n, 1001) for n in (1, 2, 3)}
    writing = trial("test.files.process", {"count": 3, "bytes": 1001, "seed": 9})
    assert (writing.run(), writing.outputs) == ({"files": 3}, wanted)
    ran = run_command("test.files.command", {"count": 3, "bytes": 1001, "seed": 9})
    assert (ran.value, ran.outputs) == ({"files": 3}, wanted)


def test_cpu(trial: Callable[..., Trial], run_command: Callable[..., Any]) -> None:
    assert 0 < trial("test.cpu.process", {"seconds": 0.1}).run()["cpu_s"] <= 0.5
    assert 0 < run_command("test.cpu.command", {"seconds": 0.1}).value["cpu_s"] <= 0.5


def test_alloc(trial: Callable[..., Trial], run_command: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert trial("test.alloc.process", {"mebibytes": 40}).run() == {"mebibytes": 40}
    assert capfd.readouterr().out == "MiB 16\nMiB 32\nMiB 40\n"
    ran = run_command("test.alloc.command", {"mebibytes": 40})
    assert (ran.stdout, ran.value) == (b"MiB 16\nMiB 32\nMiB 40\n", {"mebibytes": 40})


def test_every_function_of_the_pack_has_a_title(tools: Catalogue) -> None:
    found = [tool for tool in tools.functions.values() if tool.name.startswith("test.")]
    assert all(isinstance(tool, ToolFunction) and tool.title != tool.name for tool in found)
