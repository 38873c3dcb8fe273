"""Command tools with a user each, where the executor is root; anybody else's executor runs them as itself."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobyard_executor.domain.assignment import Outcome, StopReason, Verdict
from jobyard_executor.sandbox.users import BLOCK

Play = Callable[..., None]
ROOT = os.geteuid() == 0
IDS = (400_000, 256 * BLOCK)


def who(outcome: Outcome) -> dict[str, Any]:
    assert outcome.verdict is Verdict.SUCCEEDED, outcome.failure
    value: dict[str, Any] = json.loads(bytes(outcome.value))
    return value


@pytest.mark.parametrize("tool", ["odd.who", "odd.who.python"])
def test_every_attempt_has_a_user_of_its_own(play: Play, tool: str) -> None:
    async def story(bench: Any) -> None:
        found = [who(await bench.run(tool)) for _ in range(3)]
        uids = [each["uid"] for each in found]
        if not ROOT:
            assert set(uids) == {os.geteuid()}
            return
        assert len(set(uids)) == 3
        assert all(IDS[0] < uid < sum(IDS) for uid in uids)
        assert [each["groups"] for each in found] == [str(uid) for uid in uids]

    play(story, command_slots=1, user_ids=IDS)


def test_output_goes_where_it_went(play: Play) -> None:
    async def story(bench: Any) -> None:
        fence = bench.go("odd.who")
        outcome = await bench.end(fence)
        assert (who(outcome)["uid"] > 0, bench.files.stored) == (ROOT or os.geteuid() > 0, {"file": b"kept\n"})
        assert bench.messages(fence, "stdout")[0] == "by name"
        await bench.until(lambda: not list(bench.root.iterdir()), what="the end of the work dirs")

    play(story, user_ids=IDS)


def test_a_neighbour_is_out_of_reach(play: Play) -> None:
    """As one shared user, each of these would be answered."""

    async def story(bench: Any) -> None:
        neighbour = bench.go("test.sleep.command", {"seconds": 60, "steps": 600})
        await bench.until(lambda: bench.lines[neighbour], what="its first progress")
        folder = next(path for path in bench.root.iterdir() if path.name.startswith(f"job_{neighbour}-"))
        victim = next(int(pid) for pid in os.listdir("/proc") if pid.isdigit() and works_in(pid, folder))  # noqa: PTH208
        parameters = {"victim": victim, "former": str(folder / "parameters.json")}
        reached = (await bench.run("odd.who", parameters)).stdout.splitlines()[1:]
        assert [line for line in reached if line.startswith("may")] == (
            [] if ROOT else ["may signal", "may read", "may list"]
        )
        bench.runner.stop_job(f"job_{neighbour}", neighbour, reason=StopReason.CANCEL)
        await bench.end(neighbour)

    play(story, user_ids=IDS)


def works_in(pid: str, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder
    except OSError:
        return False


@pytest.mark.serial
def test_the_kernel_refuses_what_the_guardian_has_not_seen_yet(play: Play) -> None:
    async def story(bench: Any) -> None:
        fence = bench.go("odd.breed")
        outcome = await bench.end(fence)
        assert outcome.verdict in (Verdict.RESOURCE_EXHAUSTED, Verdict.ERROR)
        counted = len(bench.messages(fence, "stdout"))
        assert counted < (40 if ROOT else 301)
        assert counted > 5

    play(story, user_ids=IDS)


@pytest.mark.serial
def test_a_bomb_takes_no_process_from_its_neighbours(play: Play) -> None:
    """Three at once, each at the wall, and a fourth that may still start what it needs."""

    async def story(bench: Any) -> None:
        bombs = [bench.go("odd.breed") for _ in range(3)]
        assert (await bench.run("odd.who")).verdict is Verdict.SUCCEEDED
        for bomb in bombs:
            assert (await bench.end(bomb)).verdict is not Verdict.SUCCEEDED

    play(story, command_slots=4, user_ids=IDS)


def test_a_tool_that_its_user_cannot_read_runs_as_ours_and_its_log_says_so(play: Play, tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "tool.toml").write_text('name = "odd.private"\nversion = "1"\nargv = ["sh", "{folder}/run.sh"]\n')
    (folder / "run.sh").write_text("id -u >result.json; echo x >out/file\n")
    (folder / "run.sh").chmod(0o600)

    async def story(bench: Any) -> None:
        fence = bench.go("odd.private")
        outcome = await bench.end(fence)
        assert (json.loads(bytes(outcome.value)), bench.files.stored) == (os.geteuid(), {"file": b"x\n"})
        said = [line for line in bench.lines[fence] if line.stream == "log"]
        assert [(line.level, "executor's user" in line.message) for line in said] == [("warning", True)]

    play(story, folders=(tmp_path,), user_ids=IDS)


def test_without_users_to_lend_tools_run_as_ours(play: Play) -> None:
    async def story(bench: Any) -> None:
        outcomes = await asyncio.gather(*(bench.run("odd.who") for _ in range(3)))
        assert {who(outcome)["uid"] for outcome in outcomes} == {os.geteuid()}
        assert bench.runner.levels() == {"L0", "L1", "L2"}

    play(story, user_ids=(0, 0))


def test_a_tool_that_must_be_counted_does_not_run_uncounted(play: Play, tmp_path: Path) -> None:
    folder = tmp_path / "counted"
    folder.mkdir()
    (folder / "tool.toml").write_text('name = "odd.counted"\nversion = "1"\nargv = ["true"]\nmin_isolation = "L4"\n')

    async def story(bench: Any) -> None:
        outcome = await bench.run("odd.counted")
        assert (outcome.verdict, outcome.failure.code) == (Verdict.ERROR, "isolation_unavailable")
        assert "no control group" in outcome.failure.message

    play(story, folders=(tmp_path,), levels=frozenset({"L0", "L1", "L2", "L3", "L4"}), cgroup=str(tmp_path))
