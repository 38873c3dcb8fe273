"""Tools on the wire: the definition that executors publish and the gateway validates against."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

TOOL_DEFINED = "jobyard.tool.defined.v1"


class Isolation(StrEnum):
    ASYNC = "async"
    PROCESS = "process"
    COMMAND = "command"


class Level(StrEnum):
    """Sandbox levels, weakest first."""

    L0 = "L0"
    L1 = "L1"
    L2 = "L2"
    L3 = "L3"
    L4 = "L4"


class FileSlot(msgspec.Struct, frozen=True):
    required: bool = True
    content_types: tuple[str, ...] = ()
    description: str = ""


class ToolDefinition(msgspec.Struct, frozen=True):
    """One version of a tool. `parameters_schema` is a JSON Schema 2020-12, byte-true; `hash` is over everything else.

    `retry` holds the members of `contracts.jobs.Retry` that differ from its defaults; `cache_ttl_s` says how long a
    result may answer for the same input; `batch` how many jobs the tool takes at once (`size`, `interval_s`).
    """

    name: str
    version: str
    title: str
    description: str
    parameters_schema: msgspec.Raw
    queue: str
    isolation: Isolation
    min_isolation: Level
    hash: str
    timeout_s: float | None = None
    soft_timeout_s: float | None = None
    retry: dict[str, Any] = msgspec.field(default_factory=dict)
    slots: dict[str, FileSlot] = msgspec.field(default_factory=dict)
    limits: dict[str, Any] = msgspec.field(default_factory=dict)
    examples: tuple[msgspec.Raw, ...] = ()
    cache_ttl_s: float | None = None
    batch: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.name}@{self.version}"
