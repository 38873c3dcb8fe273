"""Limits, stop requests, and the end of whole process trees."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest
from jobyard_executor.domain.assignment import StopReason, Verdict

Play = Callable[..., None]
Alive = Callable[[str], list[int]]
SUFFIXES = ["", ".process", ".command"]
TREES = [".process", ".command"]
EVIL = {
    "children": 5,
    "seconds": 300,
    "setsid": True,
    "double_fork": True,
    "ignore_sigterm": True,
    "hold_pipes": True,
}


def marker() -> str:
    return f"mark-{secrets.token_hex(8)}"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_soft_limit_is_heard_inside_the_tool(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        slow = {"seconds": 60, "on_soft_limit": "finish"}
        finished = await bench.run(f"test.sleep{suffix}", slow, soft_timeout_s=0.5)
        assert (finished.verdict, json.loads(bytes(finished.value))) == (Verdict.SUCCEEDED, {"interrupted": True})
        assert 450 <= finished.run_ms < 3000
        passed = await bench.run(f"test.sleep{suffix}", {"seconds": 60}, soft_timeout_s=0.5)
        assert (passed.verdict, passed.failure.code) == (Verdict.TIMEOUT, "timeout")

    play(story)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_hard_limit_ends_even_the_deaf(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        deaf = {"seconds": 60, "on_soft_limit": "ignore"} | ({"ignore_sigterm": True} if suffix else {})
        outcome = await bench.run(f"test.sleep{suffix}", deaf, soft_timeout_s=0.5, timeout_s=1.0)
        assert outcome.verdict is Verdict.TIMEOUT
        assert 950 <= outcome.run_ms < 4000
        assert (await bench.run(f"test.noop{suffix}")).verdict is Verdict.SUCCEEDED

    play(story)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cancel_is_heard_and_a_success_after_it_is_told(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        for behaviour, verdict in (("raise", Verdict.CANCELLED), ("finish", Verdict.SUCCEEDED)):
            fence = bench.go(f"test.sleep{suffix}", {"seconds": 60, "steps": 600, "on_soft_limit": behaviour})
            await bench.until(lambda fence=fence: bench.lines[fence], what="its first progress")
            bench.runner.stop_job(f"job_{fence}", fence, reason=StopReason.CANCEL)
            assert (await bench.end(fence, within_s=4)).verdict is verdict

    play(story)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_after_the_grace_the_deaf_are_cancelled_too(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        fence = bench.go(f"test.sleep{suffix}", {"seconds": 60, "steps": 600, "on_soft_limit": "ignore"})
        await bench.until(lambda: bench.lines[fence], what="its first progress")
        began = time.monotonic()
        bench.runner.stop_job(f"job_{fence}", fence, reason=StopReason.CANCEL)
        assert (await bench.end(fence, within_s=10)).verdict is Verdict.CANCELLED
        assert time.monotonic() - began > 4.5

    play(story)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_lost_lease_ends_the_tool_without_grace(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        fence = bench.go(f"test.sleep{suffix}", {"seconds": 60, "steps": 600, "on_soft_limit": "ignore"})
        await bench.until(lambda: bench.lines[fence], what="its first progress")
        bench.runner.stop_job(f"job_{fence}", fence, reason=StopReason.REVOKED)
        assert (await bench.end(fence, within_s=3)).verdict is Verdict.INTERRUPTED

    play(story)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_stop_right_after_the_dispatch_is_not_lost(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        for _ in range(10):
            fence = bench.go(f"test.sleep{suffix}", {"seconds": 60})
            bench.runner.stop_job(f"job_{fence}", fence, reason=StopReason.CANCEL)
            assert (await bench.end(fence, within_s=8)).verdict is Verdict.CANCELLED

    play(story)


def test_a_job_that_waits_for_a_slot_is_cancelled_at_once(play: Play) -> None:
    async def story(bench: Any) -> None:
        running = bench.go("test.sleep.process", {"seconds": 60})
        waiting = bench.go("test.sleep.process", {"seconds": 60})
        bench.runner.stop_job(f"job_{waiting}", waiting, reason=StopReason.CANCEL)
        assert (await bench.end(waiting, within_s=1)).run_ms == 0
        bench.runner.stop_job(f"job_{running}", running, reason=StopReason.CANCEL)
        await bench.end(running)

    play(story, process_slots=1)


def test_a_stop_in_the_middle_of_a_frame_breaks_nothing(play: Play) -> None:
    async def story(bench: Any) -> None:
        for _ in range(5):
            fence = bench.go("odd.chatty")
            await bench.until(lambda fence=fence: len(bench.lines[fence]) > 50, what="its log")
            bench.runner.stop_job(f"job_{fence}", fence, reason=StopReason.CANCEL)
            assert (await bench.end(fence, within_s=4)).verdict is Verdict.CANCELLED
        assert (await bench.run("test.noop.process")).verdict is Verdict.SUCCEEDED

    play(story, process_slots=1)


@pytest.mark.serial
@pytest.mark.parametrize("suffix", TREES)
def test_a_cancelled_tree_is_gone_to_the_last_process(play: Play, alive: Alive, suffix: str) -> None:
    async def story(bench: Any) -> None:
        mark = marker()
        fence = bench.go(f"test.tree{suffix}", EVIL | {"marker": mark})
        await bench.until(lambda: len(alive(mark)) >= 6 and bench.messages(fence, "stdout"), what="the tree")
        bench.runner.stop_job(f"job_{fence}", fence, reason=StopReason.CANCEL)
        assert (await bench.end(fence, within_s=8)).verdict is Verdict.CANCELLED
        assert alive(mark) == []
        assert bench.messages(fence, "stdout") == ["ready"]

    play(story)


@pytest.mark.serial
@pytest.mark.parametrize("suffix", TREES)
def test_a_tree_past_its_hard_limit_is_gone_too(play: Play, alive: Alive, suffix: str) -> None:
    async def story(bench: Any) -> None:
        mark = marker()
        outcome = await bench.run(f"test.tree{suffix}", EVIL | {"marker": mark}, timeout_s=1.5)
        assert (outcome.verdict, alive(mark)) == (Verdict.TIMEOUT, [])

    play(story)


def test_a_tree_that_is_too_large_is_killed(play: Play) -> None:
    async def story(bench: Any) -> None:
        outcome = await bench.run("odd.bomb")
        assert (outcome.verdict, outcome.failure.code) == (Verdict.RESOURCE_EXHAUSTED, "resource_exhausted")
        assert "processes" in outcome.failure.message

    play(story)


def test_memory_beyond_the_limit_is_oom(play: Play) -> None:
    from jobyard_executor.worker.settings import Memory

    async def story(bench: Any) -> None:
        outcome = await bench.run("test.alloc.process", {"mebibytes": 600})
        assert (outcome.verdict, outcome.failure.code) == (Verdict.OOM, "out_of_memory")
        assert (await bench.run("test.noop.process")).verdict is Verdict.SUCCEEDED

    play(story, limits=Memory(child_memory_bytes=400 * 2**20))


@pytest.mark.parametrize(("tool", "code"), [("odd.exit", "exit_code"), ("odd.segfault", "crashed")])
def test_a_tool_that_ends_its_process_ends_its_job_only(play: Play, tool: str, code: str) -> None:
    async def story(bench: Any) -> None:
        outcome = await bench.run(tool)
        assert (outcome.verdict, outcome.failure.code) == (Verdict.ERROR, code)
        assert outcome.stdout == ("before\n" if tool == "odd.exit" else "")
        assert (await bench.run("test.noop.process")).verdict is Verdict.SUCCEEDED

    play(story, process_slots=1)
