"""Children that tools ask for come with the outcome of an attempt that succeeded, from every isolation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from jobyard_executor.domain.assignment import Verdict
from jobyard_executor.domain.child import child_id

VARIANTS = ("", ".process", ".command")


@pytest.mark.parametrize("variant", VARIANTS)
def test_children_come_with_success(variant: str, play: Callable[..., None]) -> None:
    async def story(bench: Any) -> None:
        outcome = await bench.run(f"test.children{variant}", {"count": 3})
        assert outcome.verdict is Verdict.SUCCEEDED
        assert [child.key for child in outcome.children] == ["#0", "#1", "#2"]
        bodies = [json.loads(bytes(child.body)) for child in outcome.children]
        assert bodies == [{"tool": "test.echo", "parameters": {"value": n}} for n in range(3)]
        if variant != ".command":
            expected = [child_id(outcome.job_id, child.key, tenant="tnt") for child in outcome.children]
            assert json.loads(bytes(outcome.value)) == expected
        again = await bench.run(f"test.children{variant}", {"count": 0})
        assert again.children == ()

    play(story)


@pytest.mark.parametrize("variant", VARIANTS)
def test_too_many_children_fail_the_attempt_and_say_so(variant: str, play: Callable[..., None]) -> None:
    async def story(bench: Any) -> None:
        outcome = await bench.run(f"test.children{variant}", {"count": 1001})
        assert (outcome.verdict, outcome.failure.code) == (Verdict.ERROR, "too_many_children")
        assert "1,000" in outcome.failure.message and not outcome.failure.retryable
        assert outcome.children == ()
        most = await bench.run(f"test.children{variant}", {"count": 1000})
        assert len(most.children) == 1000

    play(story)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_child_that_is_none_fails_the_attempt(variant: str, play: Callable[..., None]) -> None:
    async def story(bench: Any) -> None:
        outcome = await bench.run(f"test.children{variant}", {"count": 1, "tool": ""})
        assert (outcome.verdict, outcome.failure.code) == (Verdict.ERROR, "child_invalid")

    play(story)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_attempt_that_fails_leaves_no_children(variant: str, play: Callable[..., None]) -> None:
    async def story(bench: Any) -> None:
        outcome = await bench.run(f"test.children{variant}", {"count": 2, "failures": 1})
        assert (outcome.verdict, outcome.children) == (Verdict.ERROR, ())

    play(story)
