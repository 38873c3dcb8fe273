"""What tools print and log, live and in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from jobyard_executor.domain.assignment import SEQ_PER_ATTEMPT, Verdict
from jobyard_executor.worker.capture import LIMIT_REACHED

Play = Callable[..., None]
SUFFIXES = ["", ".process", ".command"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_both_streams_are_whole_and_in_order(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        fence = bench.go(f"test.print{suffix}", {"lines": 1000, "stream": "both"})
        outcome = await bench.end(fence)
        assert [line.seq - SEQ_PER_ATTEMPT for line in bench.lines[fence]] == list(range(1, 1001))
        assert outcome.last_seq == SEQ_PER_ATTEMPT + 1000
        assert bench.messages(fence, "stdout") == [f"line {n}" for n in range(1, 1001, 2)]
        assert bench.messages(fence, "stderr") == [f"line {n}" for n in range(2, 1001, 2)]
        assert outcome.stdout.startswith("line 1\nline 3\n")
        assert not outcome.truncated

    play(story)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rubbish_becomes_harmless_text(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        fence = bench.go(f"test.print{suffix}", {"lines": 50, "rubbish": True})
        outcome = await bench.end(fence)
        assert len(bench.messages(fence, "stdout")) == 50
        for text in (outcome.stdout, *bench.messages(fence, "stdout")):
            assert [mark for mark in ("\x00", "\x1b", "\udcff") if mark in text] == []
        assert "line 50" in outcome.stdout

    play(story)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_endless_and_countless_lines_are_bounded(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        endless = bench.go(f"test.print{suffix}", {"lines": 200_000, "newline": False}, timeout_s=60.0)
        outcome = await bench.end(endless)
        assert (outcome.verdict, outcome.truncated) == (Verdict.SUCCEEDED, True)
        assert len(outcome.stdout.encode()) <= 2**20
        assert len(bench.lines[endless]) == 1
        many = bench.go(f"test.print{suffix}", {"lines": 200_000}, timeout_s=60.0)
        outcome = await bench.end(many, within_s=60)
        lines = bench.lines[many]
        assert (len(lines), lines[-1].message) == (100_001, LIMIT_REACHED)
        assert outcome.last_seq == lines[-1].seq == SEQ_PER_ATTEMPT + 100_001

    play(story)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_lines_and_progress_come_while_the_tool_runs(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        talking = bench.go(f"test.print{suffix}", {"lines": 20, "interval_s": 0.1})
        await bench.until(lambda: bench.lines[talking], within_s=1.5, what="its first line")
        assert talking not in bench.outcomes
        moving = bench.go(f"test.sleep{suffix}", {"seconds": 1.5, "steps": 30})
        await bench.end(moving)
        done = [json.loads(bytes(line.fields))["done"] for line in bench.lines[moving] if line.stream == "progress"]
        assert done == sorted(done)
        assert done[-1] == 30
        assert 3 <= len(done) <= 6
        await bench.end(talking)

    play(story)


@pytest.mark.parametrize("suffix", ["", ".process"])
def test_log_entries_keep_level_and_fields(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        fence = bench.go(f"test.log{suffix}", {"lines": 8})
        await bench.end(fence)
        assert bench.messages(fence, "log") == [f"entry {n}" for n in range(1, 9)]
        assert [line.level for line in bench.lines[fence]] == ["debug", "info", "warning", "error"] * 2
        assert [json.loads(bytes(line.fields))["n"] for line in bench.lines[fence]] == list(range(1, 9))

    play(story)


def test_async_jobs_on_one_loop_keep_their_prints_apart(play: Play) -> None:
    async def story(bench: Any) -> None:
        fences = [bench.go("test.print", {"lines": n, "interval_s": 0.01}) for n in range(1, 21)]
        for n, fence in enumerate(fences, start=1):
            await bench.end(fence)
            assert bench.messages(fence, "stdout") == [f"line {k}" for k in range(1, n + 1)]

    play(story)


def test_a_line_after_the_end_is_kept_and_marked(play: Play) -> None:
    async def story(bench: Any) -> None:
        fence = bench.go("odd.late")
        outcome = await bench.end(fence)
        await bench.until(lambda: bench.lines[fence], what="the late line")
        (line,) = bench.lines[fence]
        assert (line.message, line.late, outcome.last_seq) == ("too late", True, 0)

    play(story)
