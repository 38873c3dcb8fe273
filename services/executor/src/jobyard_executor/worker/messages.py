"""Frames between the control process, the forge, the workers and the process children.

A frame is four bytes of length (big endian) and one msgpack array of messages, so many messages cost one write.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

MAX_FRAME_BYTES = 64 * 2**20
"""Above this the other side has lost its mind; the link is closed."""

_HEADER = struct.Struct(">I")


class FrameError(Exception):
    """The other side of a link sent something that is no frame."""


class Start(msgspec.Struct, array_like=True, tag=1):
    """Begin one attempt. Times are seconds; `deadline` is Unix time; `staged` says that `work_dir` exists already;
    `own_user` that a command is to run as a user of its own."""

    handle: int
    job_id: str
    attempt: int
    fence: int
    tool: str
    version: str
    parameters: bytes
    timeout_s: float
    soft_timeout_s: float | None
    deadline: float | None
    work_dir: str
    staged: bool
    traceparent: str = ""
    correlation_id: str = ""
    tenant: str = ""
    own_user: bool = False


class Stop(msgspec.Struct, array_like=True, tag=2):
    """End an attempt for a `StopReason`."""

    handle: int
    reason: str


class Line(msgspec.Struct, array_like=True):
    """One output: `n` counts from 1 within the attempt; `fields` is JSON text of an object."""

    n: int
    at: float
    stream: str
    message: str
    level: str | None
    fields: bytes | None


class Lines(msgspec.Struct, array_like=True, tag=3):
    handle: int
    lines: list[Line]
    late: bool = False


class Fault(msgspec.Struct, array_like=True):
    code: str
    message: str
    type: str | None = None
    detail: str | None = None
    retryable: bool = True
    retry_after_s: float | None = None


class Ended(msgspec.Struct, array_like=True, tag=4):
    """The end of an attempt; `outputs` says that `out/` may hold files, `folder` that the work dir exists."""

    handle: int
    verdict: str
    started: float
    run_s: float
    value: bytes
    fault: Fault | None
    return_code: int | None
    stdout: str
    stderr: str
    truncated: bool
    last_n: int
    outputs: bool = False
    folder: bool = False
    alive: bool = False
    """The task still lives although its attempt is over."""
    children: list[tuple[str, bytes]] = []
    """Key and body of the children of an attempt that succeeded."""


class Gone(msgspec.Struct, array_like=True, tag=5):
    """A task that outlived its hard limit has ended after all."""

    handle: int


class Beat(msgspec.Struct, array_like=True, tag=6):
    """The loop of an async worker turns."""


class Fork(msgspec.Struct, array_like=True, tag=7):
    """To the forge: fork a worker; its socket travels with this frame."""

    number: int
    kind: str


class Forked(msgspec.Struct, array_like=True, tag=8):
    number: int
    pid: int


class ToolInfo(msgspec.Struct, array_like=True):
    name: str
    version: str
    isolation: str
    min_isolation: str


class Ready(msgspec.Struct, array_like=True, tag=9):
    """From the forge, once: what it can run, and the definitions for the registry as JSON."""

    tools: list[ToolInfo]
    definitions: list[bytes]


class Broken(msgspec.Struct, array_like=True, tag=10):
    """From the forge: the tools could not be loaded, and why."""

    message: str


class ChildNote(msgspec.Struct, array_like=True, tag=11):
    """From a process child: a log entry (`level` set) or a line for another stream."""

    stream: str
    message: str
    level: str | None
    fields: bytes | None


class ChildProgress(msgspec.Struct, array_like=True, tag=12):
    """From a process child: `fields` is the progress as JSON text."""

    fields: bytes


class ChildAsked(msgspec.Struct, array_like=True, tag=14):
    """From a process child: its tool asks for a child job; `body` is JSON text."""

    body: bytes


class ChildEnded(msgspec.Struct, array_like=True, tag=13):
    verdict: str
    value: bytes
    fault: Fault | None
    outputs: bool
    folder: bool
    spent: bool
    """The child must not be used again (it has threads left, or ran enough jobs)."""


Message = (
    Start
    | Stop
    | Lines
    | Ended
    | Gone
    | Beat
    | Fork
    | Forked
    | Ready
    | Broken
    | ChildNote
    | ChildProgress
    | ChildAsked
    | ChildEnded
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Message])


def encode_frame(messages: Sequence[Message]) -> bytes:
    body = _encoder.encode(messages)
    return _HEADER.pack(len(body)) + body


class FrameReader:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """All messages completed by `data`. Raises FrameError."""
        buffer = self._buffer
        buffer += data
        found: list[Message] = []
        position = 0
        while len(buffer) - position >= 4:
            (length,) = _HEADER.unpack_from(buffer, position)
            if length > MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {length} bytes")
            end = position + 4 + length
            if len(buffer) < end:
                break
            try:
                found += _decoder.decode(memoryview(buffer)[position + 4 : end])
            except msgspec.MsgspecError as error:
                raise FrameError(str(error)) from error
            position = end
        if position:
            del buffer[:position]
        return found
