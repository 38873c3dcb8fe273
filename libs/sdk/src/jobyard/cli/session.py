"""What every command needs: a client from the settings, uploads and downloads with a bar, and patience with Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from jobyard.cli.output import Output, clean, interactive

if TYPE_CHECKING:
    from jobyard.client import Client, File


def connect() -> Client:
    """The client for the configured server. Raises ConfigurationError."""
    from jobyard.client import Client

    return Client()


def upload(client: Client, path: Path, output: Output, *, name: str | None = None, kind: str | None = None) -> File:
    with bar(f"Uploading {path.name}", output) as progress:
        return client.files.upload(path, name=name, content_type=kind, progress=progress)


def download(client: Client, file_id: str, path: Path, output: Output) -> File:
    with bar(f"Downloading {path.name}", output) as progress:
        return client.files.download(file_id, path, progress=progress)


@contextmanager
def bar(title: str, output: Output) -> Iterator[Callable[[int, int], object]]:
    """A progress bar for a person at a terminal, one line of text at the end otherwise."""
    seen = [0, 0]

    def remember(done: int, total: int) -> None:
        seen[:] = [done, total]

    if not interactive():
        yield remember
        output.say(f"{clean(title)}: {seen[0]:,} bytes")
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=False) as shown:
        task = shown.add_task(clean(title), total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


@contextmanager
def patient_interrupts() -> Iterator[None]:
    """The first Ctrl-C waits for the end of the block, a second one does not.

    So an interrupt in the middle of a submit still learns the job's id.
    """
    pending = False

    def once(number: int, frame: FrameType | None) -> None:
        nonlocal pending
        if pending:
            raise KeyboardInterrupt
        pending = True

    before: Any = signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pending:
        raise KeyboardInterrupt
