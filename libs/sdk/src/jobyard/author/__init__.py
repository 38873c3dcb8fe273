"""The kit for tool authors: declare a tool, talk to its job while it runs, fail it with a reason.

    from pydantic import BaseModel
    from jobyard import Context, tool

    class Params(BaseModel):
        name: str = "world"

    @tool("greet")
    async def greet(ctx: Context, params: Params) -> dict[str, str]:
        ctx.log.info("greeting", name=params.name)
        return {"text": f"Hello, {params.name}!"}

How tools are shipped, tested and limited: docs/tools.md.
"""

from __future__ import annotations

from jobyard.author.batch_tool import batch_tool
from jobyard.author.batching import Item
from jobyard.author.context import Context
from jobyard.author.errors import (
    Cancelled,
    NotSupported,
    ResultInvalid,
    ResultTooLarge,
    RetryLater,
    SoftLimitReached,
    Stop,
    ToolDefinitionError,
    ToolError,
)
from jobyard.author.registry import Pack, Slot, ToolFunction, tool
from jobyard.author.values import Result, encode_result

__all__ = [
    "Cancelled",
    "Context",
    "Item",
    "NotSupported",
    "Pack",
    "Result",
    "ResultInvalid",
    "ResultTooLarge",
    "RetryLater",
    "Slot",
    "SoftLimitReached",
    "Stop",
    "ToolDefinitionError",
    "ToolError",
    "ToolFunction",
    "batch_tool",
    "encode_result",
    "tool",
]
