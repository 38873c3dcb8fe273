"""Head and body of a short answer leave in one write: a system call and a wake-up of the reader less."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from jobyard_common.http.context import Message

PLAIN = "jobyard.plain"


class OneWrite:
    """The `send` of one request.

    An answer whose start is marked `PLAIN` promises lower-case header names, values without line breaks, the exact
    content-length and no header of the connection; it goes out as it is. The head of any other answer waits for the
    first part of its body and is then written by uvicorn.
    """

    __slots__ = ("_cycle", "_head", "_send")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._send: Any = cycle.send
        self._head: Message | None = None

    async def __call__(self, message: Message) -> None:
        head, self._head = self._head, None
        if head is None:
            if message["type"] == "http.response.start":
                self._head = message
            else:
                await self._send(message)
            return
        cycle = self._cycle
        if (
            PLAIN in head
            and cycle.keep_alive
            and not cycle.response_started
            and not cycle.disconnected
            and not cycle.flow.write_paused
            and message["type"] == "http.response.body"
            and not message.get("more_body", False)
        ):
            self._write(head, message["body"])
            return
        await self._send(head)
        await self._send(message)

    def _write(self, head: Message, body: bytes) -> None:
        cycle = self._cycle
        cycle.response_started, cycle.waiting_for_100_continue = True, False
        lines = [b"%s: %s\r\n" % row for row in cycle.default_headers]
        lines += [b"%s: %s\r\n" % row for row in head["headers"]]
        cycle.transport.write(b"".join((STATUS_LINE[head["status"]], *lines, b"\r\n", body)))
        cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
