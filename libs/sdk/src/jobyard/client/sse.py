"""Server-sent events, read from bytes as the WHATWG standard says."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from jobyard.errors import UnexpectedAnswer

MAX_EVENT = 16 * 2**20
"""Characters an event may hold before the stream counts as broken."""

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Message:
    id: str
    name: str
    data: str


class Parser:
    """Takes bytes cut anywhere, gives whole messages; `last_id` and `retry_ms` are as the stream last said.

    `reached` is the id of the last block that came whole, with an event in it or without.
    """

    def __init__(self) -> None:
        self.last_id = ""
        self.reached = ""
        self.retry_ms: int | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._begun = False
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes. Raises UnexpectedAnswer for an endless one."""
        text = self._rest + self._decoder.decode(data)
        if not self._begun and text:
            text = text.removeprefix("\ufeff")
            self._begun = True
        messages, position = list[Message](), 0
        while found := _LINE_END.search(text, position):
            if found.group() == "\r" and found.end() == len(text):
                break  # the next piece may begin with the newline that belongs to it
            message = self._line(text[position : found.start()])
            position = found.end()
            if message is not None:
                messages.append(message)
        self._rest = text[position:]
        if len(self._rest) + self._size > MAX_EVENT:
            raise UnexpectedAnswer("an event of the stream is too long to be one of Jobyard's")
        return messages

    def _line(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self.last_id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) < 8:
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> Message | None:
        self.reached = self.last_id
        name, data = self._name or "message", self._data
        self._name, self._data, self._size = "", [], 0
        return Message(self.last_id, name, "\n".join(data)) if data else None
