"""What a submit and a tool may ask of each other: large parameters by file, later attempts, shared calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from jobyard_common.contracts.jobs import MAX_FILED_PARAMETERS_BYTES, PARAMETERS_SLOT
from jobyard_executor.domain.assignment import InputFile, Verdict

Play = Callable[..., None]
BY_FILE = (InputFile(PARAMETERS_SLOT, "file_big"),)


@pytest.mark.parametrize("tool", ["odd.parameters", "odd.parameters_async"])
def test_a_tool_sees_the_parameters_that_lie_in_a_file(play: Play, tool: str) -> None:
    async def story(bench: Any) -> None:
        bench.files.contents["file_big"] = json.dumps({"text": "x" * 3_000_000}).encode()
        outcome = await bench.run(tool, files=BY_FILE)
        assert (outcome.verdict, bytes(outcome.value)) == (Verdict.SUCCEEDED, b"3000000")

    play(story)


def test_a_command_finds_them_as_if_they_had_been_sent(play: Play) -> None:
    async def story(bench: Any) -> None:
        bench.files.contents["file_big"] = json.dumps({"value": "x" * 100_000}).encode()
        outcome = await bench.run("test.echo.command", files=BY_FILE)
        assert outcome.verdict is Verdict.SUCCEEDED, outcome.failure
        assert json.loads(bytes(outcome.value)) == "x" * 100_000

    play(story)


@pytest.mark.parametrize("tool", ["odd.parameters", "odd.parameters_async", "test.echo.command"])
@pytest.mark.parametrize("content", [b"no json", b"[1]", b'{"unknown": 1}', b" " * (MAX_FILED_PARAMETERS_BYTES + 1)])
def test_a_file_that_holds_no_such_parameters_fails_for_good(play: Play, tool: str, content: bytes) -> None:
    async def story(bench: Any) -> None:
        bench.files.contents["file_big"] = content
        outcome = await bench.run(tool, files=BY_FILE)
        assert (outcome.verdict, outcome.failure.code) == (Verdict.ERROR, "validation_failed")
        assert not outcome.failure.retryable
        assert (await bench.run("test.noop.command")).verdict is Verdict.SUCCEEDED

    play(story)


def test_a_tool_that_asks_for_a_later_attempt_is_understood(play: Play) -> None:
    async def story(bench: Any) -> None:
        outcome = await bench.run("odd.later")
        failure = outcome.failure
        assert (outcome.verdict, failure.code, failure.retryable) == (Verdict.ERROR, "busy", True)
        assert failure.retry_after_s == 12.5

    play(story)


def test_jobs_of_a_batch_tool_share_a_call_and_keep_their_own_ends(play: Play) -> None:
    async def story(bench: Any) -> None:
        fences = [bench.go("odd.batch", {"text": "bad" if n == 2 else "good"}) for n in range(5)]
        outcomes = await asyncio.gather(*(bench.end(fence) for fence in fences))
        values = [bytes(outcome.value) for outcome in outcomes]
        assert values == [b"5", b"5", b"null", b"5", b"5"]
        assert (outcomes[2].verdict, outcomes[2].failure.code) == (Verdict.ERROR, "bad")
        for fence in fences:
            assert bench.messages(fence, "log") == ["served"]
        alone = await bench.run("odd.batch", {"text": "good"})
        assert bytes(alone.value) == b"1"

    play(story)
