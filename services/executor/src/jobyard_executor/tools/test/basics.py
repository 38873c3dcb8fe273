"""Jobs that end at once: nothing, an echo, a failure."""

from __future__ import annotations

from typing import Any

from jobyard.author import Context, ToolError

from jobyard_executor.tools.test.declare import test_tool
from jobyard_executor.tools.test.models import Echo, Fail, Flaky


@test_tool("test.noop")
async def noop(ctx: Context) -> None:
    """Do nothing: the cheapest possible job."""


@test_tool("test.noop.process")
def noop_process(ctx: Context) -> None:
    """Do nothing, in a child process."""


@test_tool("test.echo")
async def echo(ctx: Context, params: Echo) -> Any:
    """Return the parameter `value` as it came."""
    return params.value


@test_tool("test.echo.process")
def echo_process(ctx: Context, params: Echo) -> Any:
    """Return the parameter `value` as it came, from a child process."""
    return params.value


@test_tool("test.fail")
async def fail(ctx: Context, params: Fail) -> None:
    """Fail with a message, a code and a retryability of your choice."""
    raise ToolError(params.message, code=params.code, retryable=params.retryable)


@test_tool("test.fail.process")
def fail_process(ctx: Context, params: Fail) -> None:
    """Fail in a child process with a message, a code and a retryability of your choice."""
    raise ToolError(params.message, code=params.code, retryable=params.retryable)


@test_tool("test.flaky")
async def flaky(ctx: Context, params: Flaky) -> dict[str, int]:
    """Fail the first attempts, then succeed."""
    return _flaky(ctx, params)


@test_tool("test.flaky.process")
def flaky_process(ctx: Context, params: Flaky) -> dict[str, int]:
    """Fail the first attempts, then succeed, in a child process."""
    return _flaky(ctx, params)


def _flaky(ctx: Context, params: Flaky) -> dict[str, int]:
    if ctx.attempt <= params.failures:
        raise ToolError(f"attempt {ctx.attempt} of {params.failures} that fail", code="test_flaky")
    return {"attempt": ctx.attempt}


TOOLS = (noop, noop_process, echo, echo_process, fail, fail_process, flaky, flaky_process)
