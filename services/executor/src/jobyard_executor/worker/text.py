"""Bytes that tools print, made into harmless lines: cut only at newlines, bounded, without control characters."""

from __future__ import annotations

import re

LINE_BYTES = 16 * 1024
COPY_BYTES = 2**20
"""How much of stdout and of stderr the result keeps."""

_CUT = " … [line cut]"
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def harmless(text: str) -> str:
    """`text` with every control character but newline and tab, and every lone surrogate, replaced by U+FFFD."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub("\ufffd", text)


def decode(data: bytes) -> str:
    return harmless(data.decode("utf-8", "replace"))


def encode(text: str) -> bytes:
    """Text of a Python tool as the bytes it would have printed; lone surrogates stand for the bytes they came from."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def bounded(text: str, *, limit: int = LINE_BYTES) -> str:
    """A harmless message of at most `limit` bytes."""
    text = harmless(text)
    if len(text) * 4 <= limit:
        return text
    data = text.encode()
    if len(data) <= limit:
        return text
    return data[: limit - len(_CUT.encode())].decode("utf-8", "ignore") + _CUT


class LineSplitter:
    """Lines of one stream as they become complete; what exceeds `LINE_BYTES` in one line is dropped, and the line
    says so. Memory is bounded by one line, however long the tool goes on without a newline."""

    def __init__(self) -> None:
        self._open = b""
        self._cut = False

    def feed(self, data: bytes) -> list[str]:
        pieces = data.split(b"\n")
        last = pieces.pop()
        lines: list[str] = []
        for piece in pieces:
            lines.append(self._close(piece))
        self._extend(last)
        return lines

    def end(self) -> list[str]:
        """The unfinished last line, if there is one."""
        if not self._open:
            return []
        return [self._close(b"")]

    def _extend(self, piece: bytes) -> None:
        if self._cut or not piece:
            return
        joined = self._open + piece
        self._cut = len(joined) > LINE_BYTES
        self._open = joined[: LINE_BYTES + 1]

    def _close(self, piece: bytes) -> str:
        self._extend(piece)
        line, self._open, self._cut = self._open, b"", False
        return bounded(line.decode("utf-8", "replace"))


class Copy:
    """The first `COPY_BYTES` of one stream."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self.truncated = False

    def feed(self, data: bytes) -> None:
        room = COPY_BYTES - self._size
        if len(data) > room:
            self.truncated = True
            data = data[:room]
        if data:
            self._parts.append(data)
            self._size += len(data)

    def text(self) -> str:
        if not self._parts:
            return ""
        text = decode(b"".join(self._parts))
        encoded = text.encode()
        if len(encoded) > COPY_BYTES:
            self.truncated = True
            text = encoded[:COPY_BYTES].decode("utf-8", "ignore")
        return text
