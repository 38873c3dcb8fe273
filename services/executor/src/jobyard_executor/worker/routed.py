"""`print` inside an `async` tool belongs to its job: stdout and stderr of an async worker follow the context."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TextIO

from jobyard_executor.worker.text import encode

Sink = Callable[[str, bytes], None]

sink: ContextVar[Sink | None] = ContextVar("jobyard_sink", default=None)
"""Where the current task's output goes: (stream, bytes)."""


class RoutedBytes(io.RawIOBase):
    """`sys.stdout.buffer` for tools that write bytes."""

    def __init__(self, stream: str, fallback: TextIO) -> None:
        self._stream = stream
        self._fallback = fallback

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        content = bytes(data)  # type: ignore[call-overload]
        owner = sink.get()
        if owner is not None:
            owner(self._stream, content)
        else:
            self._fallback.write(content.decode("utf-8", "replace"))
        return len(content)


class Routed(io.TextIOBase):
    """A text stream that asks, at every write, whose task is writing. Outside of any job it is the stream before."""

    def __init__(self, stream: str, fallback: TextIO) -> None:
        self._stream = stream
        self._fallback = fallback
        self._bytes = RoutedBytes(stream, fallback)

    @property
    def buffer(self) -> RoutedBytes:
        return self._bytes

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "surrogateescape"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        owner = sink.get()
        if owner is not None:
            owner(self._stream, encode(text))
        else:
            self._fallback.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if sink.get() is None:
            self._fallback.flush()


def install() -> None:
    """Route this process's streams; what no job wrote goes to the executor's stderr, never into its log."""
    ours = sys.__stderr__ or sys.stderr
    sys.stdout = Routed("stdout", ours)
    sys.stderr = Routed("stderr", ours)
