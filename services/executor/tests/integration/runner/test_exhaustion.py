"""Tools that take all they can get: a bounded record of what happened, and neighbours that notice nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobyard_executor.domain.assignment import Outcome, Verdict
from jobyard_executor.worker.capture import LIMIT_REACHED
from jobyard_executor.worker.settings import Memory

Play = Callable[..., None]
SMALL = Memory(
    child_memory_bytes=400 * 2**20,
    file_bytes=32 * 2**20,
    open_files=128,
    processes=40,
    work_bytes=64 * 2**20,
    work_files=2000,
)
GROWTH_MIB = 200
"""What the control process may grow by, whatever a tool does."""
ROUNDS = 10
"""Of short jobs beside it."""

pytestmark = [pytest.mark.serial, pytest.mark.timeout(180)]


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def beside_a_neighbour(bench: Any, tool: str, parameters: Any = None, **options: Any) -> tuple[Outcome, int]:
    """Run a glutton while neighbours of every isolation run, and others start and end; all of them must succeed.

    Returns its outcome and fence."""
    before = resident_mib()
    neighbours = [
        bench.go(f"test.sleep{suffix}", {"seconds": 1.5, "steps": 5}) for suffix in ("", ".process", ".command")
    ]
    glutton = bench.go(tool, parameters, **options)
    for _ in range(ROUNDS):
        for suffix in ("", ".process", ".command"):
            assert (await bench.run(f"test.noop{suffix}")).verdict is Verdict.SUCCEEDED
    outcome = await bench.end(glutton, within_s=90)
    for neighbour in neighbours:
        assert (await bench.end(neighbour)).verdict is Verdict.SUCCEEDED
    assert resident_mib() - before < GROWTH_MIB
    return outcome, glutton


async def gone(bench: Any) -> None:
    """The work dirs of ended attempts are removed."""
    await bench.until(lambda: not any(bench.root.glob("job_*")), within_s=30, what="the end of the work dirs")


@pytest.mark.parametrize(
    ("tool", "verdict", "code"),
    [
        ("odd.forkbomb", Verdict.RESOURCE_EXHAUSTED, "resource_exhausted"),
        ("odd.breeder", Verdict.RESOURCE_EXHAUSTED, "resource_exhausted"),
        ("odd.descriptors", Verdict.RESOURCE_EXHAUSTED, "resource_exhausted"),
        ("odd.single", Verdict.RESOURCE_EXHAUSTED, "resource_exhausted"),
        ("odd.hoard", Verdict.RESOURCE_EXHAUSTED, "resource_exhausted"),
        ("odd.scatter", Verdict.RESOURCE_EXHAUSTED, "resource_exhausted"),
        ("odd.endless", Verdict.OOM, "out_of_memory"),
        ("odd.large", Verdict.RESOURCE_EXHAUSTED, "resource_exhausted"),
    ],
)
def test_a_glutton_ends_alone(play: Play, tool: str, verdict: Verdict, code: str) -> None:
    async def story(bench: Any) -> None:
        outcome, _ = await beside_a_neighbour(bench, tool)
        assert (outcome.verdict, outcome.failure.code) == (verdict, code), outcome.failure
        await gone(bench)

    play(story, limits=SMALL)


def test_a_command_that_fills_a_file_is_stopped_by_its_limit(play: Play) -> None:
    async def story(bench: Any) -> None:
        outcome, _ = await beside_a_neighbour(bench, "odd.gobble")
        assert outcome.verdict in (Verdict.RESOURCE_EXHAUSTED, Verdict.ERROR)
        assert outcome.failure.code in ("resource_exhausted", "exit_code")
        assert bytes(outcome.value) == b"null"
        await gone(bench)

    play(story, limits=SMALL)


def test_gibibytes_of_output_leave_a_bounded_record(play: Play) -> None:
    async def story(bench: Any) -> None:
        outcome, fence = await beside_a_neighbour(bench, "odd.flood", timeout_s=120.0)
        assert (outcome.verdict, outcome.truncated) == (Verdict.SUCCEEDED, True)
        assert len(outcome.stdout.encode()) <= 2**20
        assert sum(len(line.message) for line in bench.lines[fence]) < 2**20

    play(story)


@pytest.mark.parametrize("tool", ["odd.talker", "odd.chatty"])
def test_lines_without_end_are_cut_and_the_rest_goes_on(play: Play, tool: str) -> None:
    async def story(bench: Any) -> None:
        outcome, fence = await beside_a_neighbour(bench, tool, timeout_s=40.0, soft_timeout_s=20.0)
        assert outcome.verdict in (Verdict.SUCCEEDED, Verdict.TIMEOUT)
        lines = bench.lines[fence]
        assert len(lines) <= 100_001
        assert lines[-1].message == LIMIT_REACHED

    play(story)


def test_memory_of_a_command_ends_it_alone(play: Play) -> None:
    async def story(bench: Any) -> None:
        outcome, _ = await beside_a_neighbour(bench, "test.alloc.command", {"mebibytes": 2000})
        assert outcome.verdict in (Verdict.OOM, Verdict.ERROR)

    play(story, limits=Memory(memory_bytes=200 * 2**20))


def test_more_outputs_than_a_job_may_have_name_the_way_out(play: Play) -> None:
    async def story(bench: Any) -> None:
        outcome, _ = await beside_a_neighbour(bench, "test.files.command", {"count": 3000, "bytes": 1}, timeout_s=90.0)
        assert outcome.verdict is Verdict.RESOURCE_EXHAUSTED
        assert "archive" in outcome.failure.message
        await gone(bench)

    play(story)


def test_after_everything_the_slots_work(play: Play) -> None:
    async def story(bench: Any) -> None:
        tools = ("odd.descriptors", "odd.endless", "odd.single", "odd.forkbomb")
        await asyncio.gather(*(bench.run(tool) for tool in tools))
        for suffix in ("", ".process", ".command"):
            assert (await bench.run(f"test.noop{suffix}")).verdict is Verdict.SUCCEEDED

    play(story, limits=SMALL, process_slots=2, command_slots=1)
