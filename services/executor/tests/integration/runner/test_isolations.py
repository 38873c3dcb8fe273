"""The same behaviour in every isolation, and what is particular to each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from jobyard_executor.domain.assignment import InputFile, Verdict

Play = Callable[..., None]
SUFFIXES = ["", ".process", ".command"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_values_come_back_byte_true(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        assert bytes((await bench.run(f"test.noop{suffix}")).value) == b"null"
        outcome = await bench.run(f"test.echo{suffix}", {"value": {"b": 10**60, "a": [1.5, "ünï 🎉"]}})
        assert outcome.verdict is Verdict.SUCCEEDED
        value = json.loads(bytes(outcome.value))
        assert value == {"b": 10**60, "a": [1.5, "ünï 🎉"]}
        assert list(value) == ["b", "a"]
        assert outcome.failure is None
        assert outcome.last_seq == 0

    play(story)


@pytest.mark.parametrize("suffix", ["", ".process"])
def test_a_failure_keeps_code_message_type_and_traceback(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        outcome = await bench.run(f"test.fail{suffix}", {"message": "no luck", "code": "luck", "retryable": False})
        failure = outcome.failure
        assert outcome.verdict is Verdict.ERROR
        assert (failure.code, failure.message, failure.type, failure.retryable) == (
            "luck",
            "no luck",
            "ToolError",
            False,
        )
        assert "Traceback" in failure.detail
        bad = await bench.run(f"test.sleep{suffix}", {"second": 1})
        assert (bad.failure.code, bad.failure.retryable) == ("validation_failed", False)

    play(story)


def test_a_command_s_exit_code_and_stderr_are_kept(play: Play) -> None:
    async def story(bench: Any) -> None:
        outcome = await bench.run("test.fail.command", {"message": "out of paper", "exit_code": 42})
        assert (outcome.verdict, outcome.return_code, outcome.failure.code) == (Verdict.ERROR, 42, "exit_code")
        assert outcome.stderr == "out of paper\n"

    play(story)


def test_the_protocol_of_commands(play: Play) -> None:
    async def story(bench: Any) -> None:
        fence = bench.go("odd.protocol", {"a": 1}, files=(InputFile("data", "file_1"),))
        outcome = await bench.end(fence)
        assert outcome.verdict is Verdict.SUCCEEDED
        assert json.loads(bytes(outcome.value)) == {"a": 1}
        names = "HOME JOBYARD_ATTEMPT JOBYARD_CHANNEL_FD JOBYARD_DEADLINE JOBYARD_FENCE JOBYARD_JOB_ID PATH PWD TMPDIR"
        assert outcome.stdout.split() == names.split()
        log, progress = (line for line in bench.lines[fence] if line.stream in ("log", "progress"))
        assert (log.level, log.message, json.loads(bytes(log.fields))) == ("warning", "hello", {"n": 1})
        assert json.loads(bytes(progress.fields)) == {"done": 2, "total": 4, "note": "half"}
        assert bench.files.stored == {"copy": bench.files.contents["file_1"]}
        failed = await bench.run("odd.protocol", {"fail": True})
        assert (failed.failure.code, failed.failure.message, failed.failure.retryable, failed.return_code) == (
            "no_paper",
            "out of paper",
            False,
            9,
        )

    play(story)


@pytest.mark.parametrize("suffix", ["", ".process"])
def test_files_go_in_and_out(play: Play, suffix: str) -> None:
    async def story(bench: Any) -> None:
        inputs = (InputFile("data", "file_1"),)
        outcome = await bench.run(f"test.digest{suffix}", {"copy_as": "copy.bin"}, files=inputs)
        assert [file.name for file in outcome.files] == ["copy.bin"]
        assert bench.files.stored["copy.bin"] == bench.files.contents["file_1"]
        gone = await bench.run(f"test.digest{suffix}", files=(InputFile("data", "file_missing"),))
        assert (gone.verdict, gone.failure.code, gone.failure.retryable) == (Verdict.ERROR, "files_unavailable", True)
        await bench.until(lambda: not list(bench.root.iterdir()), what="the end of the work dirs")

    play(story)


def test_too_many_output_files_fail_the_job_and_say_why(play: Play) -> None:
    async def story(bench: Any) -> None:
        outcome = await bench.run("test.files.command", {"count": 1001, "bytes": 1})
        assert (outcome.verdict, outcome.failure.code) == (Verdict.RESOURCE_EXHAUSTED, "resource_exhausted")
        assert bench.files.stored == {}

    play(story)


def test_a_value_that_is_too_large_names_the_way_out(play: Play) -> None:
    async def story(bench: Any) -> None:
        outcome = await bench.run("odd.large")
        assert outcome.verdict is Verdict.RESOURCE_EXHAUSTED
        assert "output file" in outcome.failure.message

    play(story)


def test_unknown_tools_and_versions_are_errors_that_no_retry_cures(play: Play) -> None:
    async def story(bench: Any) -> None:
        for name, version in (("test.nothing", "1"), ("test.noop", "2")):
            outcome = await bench.run(name, version=version)
            assert (outcome.failure.code, outcome.failure.retryable) == ("unknown_tool", False)

    play(story)


def test_more_jobs_than_slots_wait_and_all_end(play: Play) -> None:
    async def story(bench: Any) -> None:
        assert bench.runner.free() == {"async": 500, "process": 3, "command": 3}
        fences = [bench.go("test.noop.process") for _ in range(50)] + [bench.go("test.noop") for _ in range(1200)]
        assert bench.runner.free()["process"] == 0
        assert len(bench.runner.running()) == 1250
        for fence in fences:
            assert (await bench.end(fence)).verdict is Verdict.SUCCEEDED
        assert bench.runner.free() == {"async": 500, "process": 3, "command": 3}
        assert bench.runner.running() == frozenset()

    play(story)


def test_a_confined_child_serves_one_job_and_cannot_read_around(play: Play) -> None:
    async def story(bench: Any) -> None:
        values = [json.loads(bytes((await bench.run("odd.confined")).value)) for _ in range(2)]
        assert [value["refused"] for value in values] == [True, True]
        assert values[0]["pid"] != values[1]["pid"]
        assert "out.txt" in bench.files.stored
        again = json.loads(bytes((await bench.run("odd.pid")).value))
        assert again["pid"] not in [value["pid"] for value in values]

    play(story)


def test_a_confined_command_reaches_nothing_but_its_folder(play: Play) -> None:
    async def story(bench: Any) -> None:
        outcome = await bench.run("odd.confined.command")
        assert (outcome.verdict, outcome.stdout) == (Verdict.SUCCEEDED, ""), outcome
        assert bench.files.stored == {"file": b"fine\n"}

    play(story)


def test_a_level_that_is_not_proven_runs_nothing(play: Play) -> None:
    async def story(bench: Any) -> None:
        outcome = await bench.run("odd.confined.command")
        assert (outcome.verdict, outcome.failure.code) == (Verdict.ERROR, "isolation_unavailable")

    play(story, levels=frozenset({"L0", "L1"}))


def test_tools_see_no_credential_of_ours(play: Play) -> None:
    async def story(bench: Any) -> None:
        names = json.loads(bytes((await bench.run("odd.credentials")).value))
        assert [name for name in names if name.startswith("JOBYARD")] == []

    play(story)


def test_a_child_is_tidied_between_jobs(play: Play, alive: Callable[[str], list[int]]) -> None:
    async def story(bench: Any) -> None:
        first = json.loads(bytes((await bench.run("odd.pid")).value))
        left = json.loads(bytes((await bench.run("odd.untidy")).value))
        assert left not in alive("sleep")
        second = json.loads(bytes((await bench.run("odd.pid")).value))
        assert second == first

    play(story, process_slots=1)


def test_a_child_with_threads_left_is_not_used_again(play: Play) -> None:
    async def story(bench: Any) -> None:
        used = json.loads(bytes((await bench.run("odd.thread")).value))
        assert json.loads(bytes((await bench.run("odd.pid")).value))["pid"] != used

    play(story, process_slots=1)


def test_a_child_is_recycled(play: Play) -> None:
    async def story(bench: Any) -> None:
        pids = [json.loads(bytes((await bench.run("odd.pid")).value))["pid"] for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]

    play(story, process_slots=1, jobs_per_child=2)
