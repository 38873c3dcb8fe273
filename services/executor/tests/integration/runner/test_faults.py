"""Workers that die or stand still, and the end of the control process itself."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobyard_executor.domain.assignment import Verdict
from jobyard_executor.outbound.runner import watch

Play = Callable[..., None]
Alive = Callable[[str], list[int]]
SUFFIXES = ["", ".process", ".command"]
EVIL = {"children": 3, "seconds": 300, "setsid": True, "double_fork": True, "ignore_sigterm": True, "hold_pipes": True}

pytestmark = pytest.mark.serial


def busy(bench: Any) -> list[int]:
    return [worker.pid for worker in bench.runner._crew.workers if worker.running]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_killed_worker_loses_its_job_and_is_replaced(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        fence = bench.go(f"test.sleep{suffix}", {"seconds": 60, "steps": 600})
        await bench.until(lambda: bench.lines[fence], what="its first progress")
        for pid in busy(bench):
            os.kill(pid, signal.SIGKILL)
        outcome = await bench.end(fence, within_s=3)
        assert (outcome.verdict, outcome.failure.code) == (Verdict.WORKER_LOST, "worker_lost")
        assert (await bench.run(f"test.noop{suffix}")).verdict is Verdict.SUCCEEDED

    play(story, process_slots=1, command_slots=1)


@pytest.mark.parametrize("suffix", [".process", ".command"])
def test_a_killed_guardian_leaves_no_tree_behind(play: Play, alive: Alive, suffix: str) -> None:
    async def story(bench: Any) -> None:
        mark = f"mark-{secrets.token_hex(8)}"
        fence = bench.go(f"test.tree{suffix}", EVIL | {"marker": mark})
        await bench.until(lambda: len(alive(mark)) >= 4, what="the tree")
        for pid in busy(bench):
            os.kill(pid, signal.SIGKILL)
        assert (await bench.end(fence, within_s=3)).verdict is Verdict.WORKER_LOST
        await bench.until(lambda: not alive(mark), within_s=5, what="the end of the tree")

    play(story)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_its_forge_what_runs_goes_on_and_a_new_one_comes(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        fence = bench.go(f"test.sleep{suffix}", {"seconds": 1, "steps": 20})
        await bench.until(lambda: bench.lines[fence], what="its first progress")
        first = bench.runner._crew._forge
        os.kill(first._process.pid, signal.SIGKILL)
        assert (await bench.end(fence)).verdict is Verdict.SUCCEEDED
        await bench.until(lambda: bench.runner._crew._forge not in (None, first), what="a new forge")
        before = set(bench.runner._crew.workers)
        for worker in before:
            os.kill(worker.pid, signal.SIGKILL)
        await bench.until(lambda: not before & set(bench.runner._crew.workers), what="the end of the old workers")
        assert (await bench.run(f"test.noop{suffix}")).verdict is Verdict.SUCCEEDED

    play(story)


def test_a_stuck_loop_is_replaced_and_its_neighbours_are_handed_back(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SILENT_S", 1.5)
    monkeypatch.setattr(watch, "FAREWELL_S", 1.0)

    async def story(bench: Any) -> None:
        neighbour = bench.go("test.sleep", {"seconds": 60})
        blocking = bench.go("odd.block", timeout_s=1.0)
        assert (await bench.end(blocking, within_s=5)).verdict is Verdict.TIMEOUT
        assert (await bench.run("test.noop")).verdict is Verdict.SUCCEEDED
        assert (await bench.end(neighbour, within_s=5)).verdict is Verdict.INTERRUPTED

    play(story)


def test_a_task_that_survives_its_limit_costs_its_worker_and_in_the_end_its_place(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "ZOMBIE_S", 0.2)
    monkeypatch.setattr(watch, "FAREWELL_S", 0.5)

    async def story(bench: Any) -> None:
        for _ in range(3):
            before = {worker.number for worker in bench.runner._crew.workers if worker.kind == "async"}
            outcome = await bench.run("odd.immortal", timeout_s=0.3)
            assert outcome.verdict is Verdict.TIMEOUT
            assert outcome.run_ms < 2500
            await bench.until(
                lambda before=before: not before & {w.number for w in bench.runner._crew.workers}, what="a new worker"
            )
        fence = bench.go("odd.immortal", timeout_s=0.3)
        apart = [w for w in bench.runner._crew.workers if w.tool == ("odd.immortal", "1")]
        assert len(apart) == 1
        shared = [w.number for w in bench.runner._crew.workers if w.kind == "async" and w.tool is None]
        await bench.end(fence)
        await bench.until(lambda: apart[0] not in list(bench.runner._crew.workers), what="the end of its worker")
        assert [w.number for w in bench.runner._crew.workers if w.kind == "async" and w.tool is None] == shared

    play(story)


def test_drain_waits_and_then_hands_back(play: Play) -> None:
    async def story(bench: Any) -> None:
        quick = [bench.go(f"test.sleep{suffix}", {"seconds": 0.3}) for suffix in SUFFIXES]
        slow = [bench.go(f"test.sleep{suffix}", {"seconds": 60}) for suffix in SUFFIXES]
        await bench.runner.drain(grace_s=1.5)
        assert [bench.outcomes[fence].verdict for fence in quick] == [Verdict.SUCCEEDED] * 3
        assert [bench.outcomes[fence].verdict for fence in slow] == [Verdict.INTERRUPTED] * 3
        assert set(bench.runner.free().values()) == {0}
        assert (await bench.run("test.noop")).verdict is Verdict.INTERRUPTED

    play(story)


CONTROL = """
    import asyncio, sys
    from pathlib import Path
    import msgspec
    from jobyard_executor.domain.assignment import Assignment
    from jobyard_executor.outbound.runner import ProcessRunner, RunnerSettings

    async def main():
        settings = RunnerSettings(work_root=Path(sys.argv[1]), packs=("test",), levels=frozenset({"L0", "L1"}))
        runner = ProcessRunner(settings, port=None)
        await runner.start(on_outcome=print, on_output=lambda batches: None)
        tree = msgspec.Raw(sys.argv[2].encode())
        for fence, (tool, text) in enumerate([
            ("test.tree.process", tree), ("test.tree.command", tree), ("test.sleep", msgspec.Raw(b'{"seconds": 300}'))
        ]):
            runner.dispatch([Assignment(f"job_{fence}", "tnt", 1, fence, tool, "1", text, 600.0)])
        await asyncio.sleep(300)

    asyncio.run(main())
"""


def test_nothing_outlives_a_killed_control_process(tmp_path: Path, alive: Alive) -> None:
    import json

    mark, root = f"mark-{secrets.token_hex(8)}", str(tmp_path / "work")
    tree = json.dumps(EVIL | {"marker": mark})
    control = subprocess.Popen([sys.executable, "-c", textwrap.dedent(CONTROL), root, tree])
    try:
        deadline = time.monotonic() + 20
        while len([pid for pid in alive(mark) if pid != control.pid]) < 8:
            assert time.monotonic() < deadline, "the trees did not grow"
            time.sleep(0.05)
    finally:
        control.kill()
        control.wait()
    deadline = time.monotonic() + 2
    while alive(mark) or alive(root):
        assert time.monotonic() < deadline, (alive(mark), alive(root))
        time.sleep(0.02)
