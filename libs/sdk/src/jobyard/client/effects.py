"""What the client's logic asks of the world.

Every operation is a generator, a `Flow`: it yields an effect, gets its outcome sent back, and returns its answer.
Two small drivers (`sync.py`, `aio.py`) carry the effects out, so that no logic exists twice. An effect that fails
raises inside the flow. A flow that is abandoned is closed, and its driver closes the streams it left open; a flow
must therefore not yield while it is being closed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One HTTP request; `path` is below the base URL, `params` may repeat a name."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    read_timeout_s: float | None = None


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True)
class Stream:
    """An answer whose body is still to be read; `handle` belongs to the driver."""

    status: int
    headers: Mapping[str, str]
    handle: object


@dataclass(frozen=True)
class Send:
    """Do one exchange; raises Unreachable."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Begin an exchange whose body is read in pieces; raises Unreachable."""

    request: Request


@dataclass(frozen=True)
class Read:
    """The next bytes of a stream, empty at its end; raises Unreachable."""

    stream: Stream


@dataclass(frozen=True)
class Close:
    stream: Stream


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Work:
    """Run blocking work on the local disk; its exceptions reach the flow."""

    run: Callable[[], object]


@dataclass(frozen=True)
class Emit:
    """Hand a value to whoever iterates."""

    value: object


Effect = Send | Open | Read | Close | Sleep | Work | Emit
Flow = Generator[Effect, Any, T]


def send(request: Request) -> Flow[Answer]:
    answer: Answer = yield Send(request)
    return answer


def open_stream(request: Request) -> Flow[Stream]:
    stream: Stream = yield Open(request)
    return stream


def read(stream: Stream) -> Flow[bytes]:
    data: bytes = yield Read(stream)
    return data


def read_all(stream: Stream, *, limit: int = 1 << 20) -> Flow[bytes]:
    """The rest of a stream, at most about `limit` bytes."""
    parts, size = list[bytes](), 0
    while size < limit and (data := (yield from read(stream))):
        parts.append(data)
        size += len(data)
    return b"".join(parts)


def close(stream: Stream) -> Flow[None]:
    yield Close(stream)


def sleep(seconds: float) -> Flow[None]:
    yield Sleep(seconds)


def work(run: Callable[[], T]) -> Flow[T]:
    outcome: T = yield Work(run)
    return outcome


def emit(value: object) -> Flow[None]:
    yield Emit(value)
