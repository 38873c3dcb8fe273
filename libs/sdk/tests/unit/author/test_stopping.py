"""What a tool hears when its attempt is asked to stop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from jobyard.author import Cancelled, Context, SoftLimitReached, Stop, tool
from jobyard.author.errors import CANCEL, SOFT_LIMIT, stop_for
from jobyard.author.testing import Trial


@tool("stubborn")
async def stubborn(ctx: Context) -> list[str]:
    heard = []
    while True:
        try:
            await asyncio.sleep(30)
        except Stop as stop:
            heard.append(type(stop).__name__)
            ctx.log(str(stop))
            if isinstance(stop, Cancelled):
                return heard


@tool("grouped")
async def grouped(ctx: Context) -> str:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(30))
    except SoftLimitReached:
        await asyncio.sleep(0)
        return "finished"
    return "never"


@tool("careless")
async def careless(ctx: Context) -> str:
    try:
        await asyncio.sleep(30)
    except Exception:
        return "swallowed"
    return "slept"


async def started(trial: Trial) -> asyncio.Task[object]:
    task = asyncio.ensure_future(trial.run_async())
    await asyncio.sleep(0)
    return task


async def ask(trial: Trial, task: asyncio.Task[object], reason: str | None) -> None:
    trial.backend.stop = reason
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_each_reason_is_told_once(tmp_path: Path) -> None:
    async def scenario() -> object:
        trial = Trial(stubborn, folder=tmp_path)
        task = await started(trial)
        await ask(trial, task, SOFT_LIMIT)
        assert not task.done() and task.cancelling() == 0
        await ask(trial, task, CANCEL)
        return await task

    assert asyncio.run(scenario()) == ["SoftLimitReached", "Cancelled"]


@pytest.mark.parametrize("reason", [SOFT_LIMIT, "revoked", None])
def test_the_hard_limit_is_a_plain_cancellation(reason: str | None, tmp_path: Path) -> None:
    async def scenario() -> None:
        trial = Trial(stubborn, folder=tmp_path)
        task = await started(trial)
        await ask(trial, task, SOFT_LIMIT)
        await ask(trial, task, reason)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert not isinstance(caught.value, Stop)

    asyncio.run(scenario())


def test_a_stop_passes_through_task_groups(tmp_path: Path) -> None:
    async def scenario() -> object:
        trial = Trial(grouped, folder=tmp_path)
        task = await started(trial)
        await asyncio.sleep(0)
        await ask(trial, task, SOFT_LIMIT)
        return await task

    assert asyncio.run(scenario()) == "finished"


def test_except_exception_does_not_swallow_a_stop(tmp_path: Path) -> None:
    async def scenario() -> None:
        trial = Trial(careless, folder=tmp_path)
        task = await started(trial)
        await ask(trial, task, CANCEL)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


def test_loops_can_look_for_themselves(tmp_path: Path) -> None:
    trial = Trial(stubborn, folder=tmp_path)
    trial.ctx.check()
    assert not trial.ctx.cancelled
    trial.backend.stop = CANCEL
    assert trial.ctx.cancelled
    with pytest.raises(Cancelled):
        trial.ctx.check()


def test_only_what_tools_hear_has_an_exception() -> None:
    assert isinstance(stop_for(SOFT_LIMIT), SoftLimitReached)
    assert isinstance(stop_for(CANCEL), Cancelled)
    assert (stop_for("revoked"), stop_for(None)) == (None, None)
