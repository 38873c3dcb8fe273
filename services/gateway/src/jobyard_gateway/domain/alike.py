"""Submits that differ only in their parameters: what they share is checked and written once.

The items of a batch are often one submit with other parameters. A mould is made of one that nothing is wrong with. An
item fits if it begins and ends as that one did and has an object between: then it is the same text with another value
of `parameters`, so only that value is left to judge. Whatever is not certain does not fit and goes the long way, which
alone says what is wrong with an item.
"""

from __future__ import annotations

from typing import cast

import msgspec
from jobyard_common.contracts.jobs import SubmitJob
from jobyard_common.contracts.wire import encode

from jobyard_gateway.domain.strict_json import object_within
from jobyard_gateway.domain.tools import Tool

_GAP = b"\0"
"""No JSON text of ours holds a bare NUL."""


class Mould:
    """`body` is the submit that `command` was made of, `parameters` is that part of it, if it has them.

    The command may depend on the parameters in no other way than by holding them. An item of at most `largest` bytes is
    remembered, so that the very same text is not looked at again.
    """

    def __init__(
        self, body: bytes, parameters: bytes | None, command: SubmitJob, tool: Tool, *, largest: int = 2**20
    ) -> None:
        self.queue = command.spec.queue
        self._tool = tool
        self._command = command
        self._largest = largest
        self._body = body
        self._known = parameters or bytes(command.spec.parameters)
        # The text of the parameters stands once in the submit, so that is where they are.
        self._open = parameters is not None and body.count(parameters) == 1
        self._begin, _, self._end = body.partition(self._known)
        self._least = len(self._begin) + len(self._end) + 2
        self._parts: tuple[bytes, bytes, bytes, bytes] | None = None

    def parameters_in(self, item: bytes) -> bytes | None:
        """The parameters of an item that fits and that nothing is wrong with."""
        if item == self._body:
            return self._known
        if not (self._open and len(item) >= self._least and item.startswith(self._begin) and item.endswith(self._end)):
            return None
        found = item[len(self._begin) : len(item) - len(self._end)]
        tree = object_within(item, found)
        if tree is None or self._tool.faults(tree):
            return None
        if len(item) <= self._largest:
            self._body, self._known = item, found
        return found

    def command(self, tail: str, parameters: bytes) -> bytes:
        """The command that makes the job `job_<tail>`, encoded."""
        if self._parts is None:
            self._parts = _parts(self._command)
        before, between, after, end = self._parts
        text = tail.encode()
        return b"".join((before, text, between, text, after, parameters, end))


def _parts(command: SubmitJob) -> tuple[bytes, bytes, bytes, bytes]:
    gap = msgspec.Raw(_GAP)
    named = cast(str, gap)
    spec = msgspec.structs.replace(command.spec, parameters=gap)
    before, between, after, end = encode(
        msgspec.structs.replace(command, command_id=named, job_id=named, spec=spec)
    ).split(_GAP)
    return before + b'"cmd_', b'"' + between + b'"job_', b'"' + after, end
