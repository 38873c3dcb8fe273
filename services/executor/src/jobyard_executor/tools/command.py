"""A command tool: a program in any language, described by the `tool.toml` beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobyard.author.registry import MinIsolation, Slot


@dataclass(frozen=True, kw_only=True)
class CommandTool:
    """One version of a command tool. `argv` is ready to run: its first element is an absolute path.

    `folder` holds the tool's own files, which its sandbox must let it read. Times are seconds; `timeout_s` None means
    3,600.
    """

    name: str
    version: str
    title: str
    description: str
    argv: tuple[str, ...]
    folder: Path
    parameters: Mapping[str, Any]
    queue: str
    min_isolation: MinIsolation
    timeout_s: float | None
    soft_timeout_s: float | None
    retry: Mapping[str, Any]
    slots: Mapping[str, Slot]
    limits: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[Mapping[str, Any], ...] = ()
    cache_ttl_s: float | None = None

    def parameters_schema(self) -> dict[str, Any]:
        """The JSON Schema 2020-12 of the parameters."""
        return dict(self.parameters)
