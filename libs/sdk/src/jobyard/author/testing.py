"""Trying a tool without a Jobyard: `Trial(tool, {"name": "you"}).run()` in a plain test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from jobyard.author.context import Context
from jobyard.author.registry import ToolFunction


@dataclass(frozen=True)
class Line:
    message: str
    level: str | None
    fields: Mapping[str, Any]


@dataclass(kw_only=True)
class FakeBackend:
    """A worker's side of a context in memory and a folder. `stop` is what the tool hears as stop reason."""

    folder: Path
    files: Mapping[str, Path] = field(default_factory=dict)
    stop: str | None = None
    lines: list[Line] = field(default_factory=list)
    steps: list[tuple[float, float | None, str | None]] = field(default_factory=list)
    children: list[dict[str, Any]] = field(default_factory=list)

    def emit(self, stream: str, message: str, *, level: str | None, fields: Mapping[str, Any]) -> None:
        self.lines.append(Line(message, level, dict(fields)))

    def progress(self, done: float, total: float | None, note: str | None) -> None:
        self.steps.append((done, total, note))

    def input_path(self, slot: str) -> Path:
        return self.files[slot]

    def output_path(self, name: str) -> Path:
        folder = self.folder / "out"
        folder.mkdir(exist_ok=True)
        return folder / name

    def submit(self, body: bytes) -> str:
        self.children.append(json.loads(body))
        return f"job_child_{len(self.children)}"

    def stop_requested(self) -> str | None:
        return self.stop


class Trial:
    """One attempt of a tool in a folder of yours, e.g. pytest's `tmp_path`."""

    def __init__(
        self,
        tool: ToolFunction,
        parameters: Mapping[str, Any] | None = None,
        *,
        folder: Path,
        files: Mapping[str, Path] | None = None,
        attempt: int = 1,
        fence: int = 1,
        deadline: datetime | None = None,
    ) -> None:
        self.backend = FakeBackend(folder=folder, files=files or {})
        self.ctx = Context(
            self.backend, job_id="job_trial", attempt=attempt, fence=fence, deadline=deadline, work_dir=folder
        )
        self._tool = tool
        self._parameters = json.dumps(parameters or {}).encode()

    async def run_async(self) -> Any:
        """The value as its user would get it: through JSON. Raises what the tool raises."""
        value = self._tool.run(self.ctx, self._parameters)
        if self._tool.isolation == "async":
            value = await value
        return json.loads(self._tool.encode_result(value))

    def run(self) -> Any:
        """As `run_async`, from code that is not asynchronous."""
        if self._tool.isolation == "async":
            return asyncio.run(self.run_async())
        return json.loads(self._tool.encode_result(self._tool.run(self.ctx, self._parameters)))

    @property
    def outputs(self) -> dict[str, bytes]:
        """The content of every output file, by name."""
        folder = self.backend.folder / "out"
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.exists() else {}
