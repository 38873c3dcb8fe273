"""Jobs that ask for children."""

from __future__ import annotations

from jobyard.author import Context, ToolError

from jobyard_executor.tools.test.declare import test_tool
from jobyard_executor.tools.test.models import Children


@test_tool("test.children")
async def children(ctx: Context, params: Children) -> list[str]:
    """Ask for children and return their ids; fail the first attempts after that, if you like."""
    return _ask(ctx, params)


@test_tool("test.children.process")
def children_process(ctx: Context, params: Children) -> list[str]:
    """Ask for children from a child process."""
    return _ask(ctx, params)


def _ask(ctx: Context, params: Children) -> list[str]:
    asked = [
        ctx.submit({"tool": params.tool, "parameters": {"value": n} if params.tool.startswith("test.echo") else {}})
        for n in range(params.count)
    ]
    if ctx.attempt <= params.failures:
        raise ToolError("failed after asking for children", code="test_failure")
    return asked


TOOLS = (children, children_process)
