"""A tool as the registry publishes it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from jobyard.author.registry import ToolFunction

from jobyard_executor.tools.command import CommandTool


def definition(tool: ToolFunction | CommandTool) -> dict[str, Any]:
    """The definition of a tool as plain data; `hash` is the SHA-256 of everything else in it.

    What few tools have is left out elsewhere, so that a new kind of member changes no hash of a tool without it.
    """
    described = {
        "name": tool.name,
        "version": tool.version,
        "title": tool.title,
        "description": tool.description,
        "parameters_schema": tool.parameters_schema(),
        "queue": tool.queue,
        "isolation": tool.isolation if isinstance(tool, ToolFunction) else "command",
        "min_isolation": tool.min_isolation,
        "slots": {
            name: {
                "required": slot.required,
                "content_types": list(slot.content_types),
                "description": slot.description,
            }
            for name, slot in tool.slots.items()
        },
        "timeout_s": tool.timeout_s,
        "soft_timeout_s": tool.soft_timeout_s,
        "retry": dict(tool.retry),
        "limits": dict(tool.limits),
        "examples": [dict(example) for example in tool.examples],
    }
    if isinstance(tool, ToolFunction) and tool.batch is not None:
        described["batch"] = {"size": tool.batch.size, "interval_s": tool.batch.interval_s}
    if tool.cache_ttl_s is not None:
        described["cache_ttl_s"] = tool.cache_ttl_s
    canonical = json.dumps(described, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return {**described, "hash": hashlib.sha256(canonical.encode()).hexdigest()}
