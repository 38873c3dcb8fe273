"""What all tools of the test pack share: one attempt, queue `default`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jobyard.author import Slot, ToolFunction, tool


def test_tool(name: str, *, slots: Mapping[str, Slot] | None = None) -> Callable[[Callable[..., Any]], ToolFunction]:
    return tool(name, version="1", retry={"max_attempts": 1}, slots=slots or {})
