"""A runner with real worker processes, and what came out of it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jobyard_executor.domain.assignment import Assignment, Outcome, Output, OutputBatch, OutputFile
from jobyard_executor.outbound.runner import ProcessRunner, RunnerSettings
from jobyard_executor.sandbox.users import BLOCK

DEFAULTS = {
    "async_workers": 1,
    "process_slots": 3,
    "command_slots": 3,
    "levels": frozenset({"L0", "L1", "L2"}),
    "user_ids": (600_000, 256 * BLOCK) if os.geteuid() == 0 else (0, 0),
}

Story = Callable[["Bench"], Awaitable[None]]


class FilesOnDisk:
    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {"file_1": b"hello " * 100}
        self.stored: dict[str, bytes] = {}

    async def fetch(self, file_id: str, path: str, *, tenant: str, traceparent: str) -> None:
        if file_id not in self.contents:
            raise OSError(f"no file {file_id}")
        Path(path).write_bytes(self.contents[file_id])

    async def store(
        self, path: str, *, name: str, tenant: str, job_id: str, attempt: int, fence: int, traceparent: str
    ) -> OutputFile:
        content = self.stored[name] = Path(path).read_bytes()
        return OutputFile(f"file_{name}", name, len(content), hashlib.sha256(content).hexdigest(), "text/plain")


class Bench:
    """Dispatches jobs, keeps outcomes and lines; one outcome an attempt, or the test fails."""

    def __init__(self, runner: ProcessRunner, files: FilesOnDisk, root: Path) -> None:
        self.runner = runner
        self.files = files
        self.root = root
        self.outcomes: dict[int, Outcome] = {}
        self.lines: dict[int, list[Output]] = defaultdict(list)
        self.twice: list[Outcome] = []
        self._fence = 0
        self._changed = asyncio.Event()

    def on_outcome(self, outcome: Outcome) -> None:
        if outcome.fence in self.outcomes:
            self.twice.append(outcome)
        self.outcomes[outcome.fence] = outcome
        self._changed.set()

    def on_output(self, batches: Sequence[OutputBatch]) -> None:
        for batch in batches:
            self.lines[batch.fence] += batch.lines
        self._changed.set()

    def go(self, tool: str, parameters: Any = None, *, timeout_s: float = 30.0, **options: Any) -> int:
        """Dispatch; the fence, by which these tests name the attempt."""
        self._fence += 1
        text = msgspec.json.encode(parameters or {})
        job = f"job_{self._fence}"
        version = options.pop("version", "1")
        self.runner.dispatch(
            [Assignment(job, "tnt", 1, self._fence, tool, version, msgspec.Raw(text), timeout_s, **options)]
        )
        return self._fence

    async def end(self, fence: int, *, within_s: float = 30.0) -> Outcome:
        await self.until(lambda: fence in self.outcomes, within_s=within_s, what=f"the outcome of {fence}")
        return self.outcomes[fence]

    async def run(self, tool: str, parameters: Any = None, **options: Any) -> Outcome:
        return await self.end(self.go(tool, parameters, **options))

    async def until(self, holds: Callable[[], object], *, within_s: float = 10.0, what: str = "it") -> None:
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, f"{what} did not come within {within_s} s"
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), 0.05)
            except TimeoutError:
                continue

    def messages(self, fence: int, stream: str) -> list[str]:
        return [line.message for line in self.lines[fence] if line.stream == stream]


def carriers(marker: str) -> list[int]:
    """Living processes, other than this one, with `marker` in their arguments."""
    found = []
    for folder in Path("/proc").iterdir():
        name = folder.name
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            arguments = (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if marker.encode() in arguments and state not in "ZX":
            found.append(int(name))
    return found


@pytest.fixture
def alive() -> Callable[[str], list[int]]:
    return carriers


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a story against a runner of its own; afterwards no process of it may be left."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("JOBYARD_POSTGRES_DSN", "postgresql://secret")

    def run(story: Story, **changes: Any) -> None:
        async def main() -> None:
            root = tmp_path / "work"
            settings = RunnerSettings(
                work_root=root,
                loader="runner_tools:load_odd",
                **{**DEFAULTS, **changes},
            )
            files = FilesOnDisk()
            runner = ProcessRunner(settings, port=files)
            bench = Bench(runner, files, root)
            await runner.start(on_outcome=bench.on_outcome, on_output=bench.on_output)
            try:
                await story(bench)
            finally:
                await runner.stop()
            assert bench.twice == []
            assert carriers(str(root)) == []

        asyncio.run(main())

    return run
