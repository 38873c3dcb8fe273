"""Tools that take many jobs at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jobyard.author import Context, Item, RetryLater, ToolDefinitionError, ToolError, ToolFunction, batch_tool, tool
from jobyard.author.testing import FakeBackend
from pydantic import BaseModel


class Params(BaseModel):
    n: int
    group: str = "a"


class Calls:
    """What a batch function was called with; `answer` is what it does."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.release = asyncio.Event()
        self.release.set()
        self.called = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, items: Sequence[Item[Params]]) -> list[Any]:
        self.seen.append([item.params.n for item in items])
        self.called.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return [self._answer(item.params.n) for item in items]

    def _answer(self, n: int) -> object:
        return RetryLater(5, "busy") if n == 13 else n * 10


def made(calls: Calls, **options: Any) -> ToolFunction:
    async def function(items: Sequence[Item[Params]]) -> list[Any]:
        """Add rows."""
        return await calls(items)

    return batch_tool("rows.add", params=Params, **options)(function)


def run(one: ToolFunction, folder: Path, n: int, group: str = "a") -> asyncio.Task[Any]:
    backend = FakeBackend(folder=folder)
    ctx = Context(
        backend, job_id=f"job_{n}", attempt=1, fence=n, deadline=datetime(2030, 1, 1, tzinfo=UTC), work_dir=folder
    )

    async def attempt() -> Any:
        return await one.run(ctx, b'{"n": %d, "group": "%s"}' % (n, group.encode()))

    return asyncio.get_running_loop().create_task(attempt())


def test_jobs_share_a_call_and_keep_their_own_answers_and_failures(tmp_path: Path) -> None:
    async def story() -> None:
        calls = Calls()
        one = made(calls, size=3, interval_s=30.0)
        answers = await asyncio.gather(*(run(one, tmp_path, n) for n in (1, 13, 3)), return_exceptions=True)
        assert calls.seen == [[1, 13, 3]]
        assert (answers[0], answers[2]) == (10, 30)
        assert isinstance(answers[1], RetryLater) and answers[1].after_s == 5.0

    asyncio.run(story())


def test_a_small_batch_goes_after_its_interval_and_keys_are_kept_apart(tmp_path: Path) -> None:
    async def story() -> None:
        calls = Calls()
        one = made(calls, size=100, interval_s=0.05, key=lambda params: params.group)
        await asyncio.gather(*(run(one, tmp_path, n, group) for n, group in ((1, "a"), (2, "b"), (3, "a"))))
        assert sorted(calls.seen) == [[1, 3], [2]]

    asyncio.run(story())


def test_who_leaves_while_it_waits_is_not_in_the_call(tmp_path: Path) -> None:
    async def story() -> None:
        calls = Calls()
        one = made(calls, size=2, interval_s=30.0)
        leaver = run(one, tmp_path, 1)
        await asyncio.sleep(0)
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
        assert await asyncio.gather(run(one, tmp_path, 2), run(one, tmp_path, 3)) == [20, 30]
        assert calls.seen == [[2, 3]]

    asyncio.run(story())


def test_a_call_goes_on_for_the_others_and_ends_with_the_last(tmp_path: Path) -> None:
    async def story() -> None:
        calls = Calls()
        calls.release.clear()
        one = made(calls, size=2, interval_s=30.0)
        first, second = run(one, tmp_path, 1), run(one, tmp_path, 2)
        await calls.called.wait()
        first.cancel()
        await asyncio.sleep(0)
        assert calls.cancelled == 0
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        await asyncio.sleep(0)
        assert calls.cancelled == 1

    asyncio.run(story())


def test_what_the_function_raises_fails_all_and_too_few_answers_fail_all(tmp_path: Path) -> None:
    async def story() -> None:
        async def broken(items: Sequence[Item[Params]]) -> list[Any]:
            raise ToolError("no database", code="down")

        async def short(items: Sequence[Item[Params]]) -> list[Any]:
            return [1]

        for function, code in ((broken, "down"), (short, "batch_answers")):
            one = batch_tool("rows.add", params=Params, size=2)(function)
            answers = await asyncio.gather(run(one, tmp_path, 1), run(one, tmp_path, 2), return_exceptions=True)
            assert [getattr(answer, "code", None) for answer in answers] == [code, code]

    asyncio.run(story())


def test_bad_parameters_fail_their_own_job_only(tmp_path: Path) -> None:
    async def story() -> None:
        calls = Calls()
        one = made(calls, size=2, interval_s=0.05)
        ctx = Context(FakeBackend(folder=tmp_path), job_id="j", attempt=1, fence=1, deadline=None, work_dir=tmp_path)
        with pytest.raises(ToolError):
            await one.run(ctx, b'{"n": "x"}')
        assert await run(one, tmp_path, 2) == 20

    asyncio.run(story())


@pytest.mark.parametrize(
    ("options", "complaint"), [({"size": 0}, "size"), ({"size": 1001}, "size"), ({"interval_s": 61}, "interval_s")]
)
def test_impossible_rules_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ToolDefinitionError, match=complaint):
        made(Calls(), **options)


def test_a_plain_function_and_a_wrong_signature_are_refused() -> None:
    def plain(items: Sequence[Item[Params]]) -> list[Any]:
        return []

    async def two(ctx: Context, items: Sequence[Item[Params]]) -> list[Any]:
        return []

    for function in (plain, two):
        with pytest.raises(ToolDefinitionError):
            batch_tool("rows.add", params=Params)(function)


def test_cache_time_is_checked() -> None:
    async def function(ctx: Context) -> None: ...

    assert tool("a.b", cache_ttl_s=60)(function).cache_ttl_s == 60
    for bad in (0, -1, 31 * 86_400):
        with pytest.raises(ToolDefinitionError, match="cache_ttl_s"):
            tool("a.b", cache_ttl_s=bad)(function)


@pytest.mark.parametrize("after_s", [-1, 1e10, True])
def test_a_pause_is_a_number_of_seconds(after_s: float) -> None:
    with pytest.raises(ValueError, match="after_s"):
        RetryLater(after_s)
