"""The children that an attempt has asked for, held until it ends. Every thread of the tool may ask."""

from __future__ import annotations

import threading
from collections.abc import Callable

from jobyard.author.errors import ToolError

from jobyard_executor.domain.child import (
    MAX_CHILDREN,
    MAX_TOGETHER_BYTES,
    ChildRefused,
    child_id,
    read_child,
)
from jobyard_executor.worker.messages import Fault, Start


def told(add: Callable[[bytes], str], body: bytes) -> str:
    """Add a child for a tool that can be told what is wrong. Raises ToolError."""
    try:
        return add(body)
    except ChildRefused as refused:
        raise ToolError(str(refused), code=refused.code, retryable=False) from None


class Family:
    """`fault` is what was wrong with a child of a tool that cannot be told so at once."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._children: dict[str, bytes] = {}
        self._unnamed = 0
        self._size = 0
        self.fault: Fault | None = None

    def add(self, body: bytes) -> str:
        """Take a child; returns its id. Raises ChildRefused."""
        child = read_child(body)
        with self._lock:
            key = child.key
            if key is None:
                key = f"#{self._unnamed}"
                self._unnamed += 1
            elif key.startswith("#"):
                raise ChildRefused("child_invalid", "The key of a child does not begin with #.")
            known = self._children.get(key)
            if known is not None and known != body:
                raise ChildRefused("child_invalid", f"Two children have the key {key[:64]!r}.")
            if known is None:
                self._take(key, body)
        return child_id(self._start.job_id, key, tenant=self._start.tenant)

    def _take(self, key: str, body: bytes) -> None:
        if len(self._children) >= MAX_CHILDREN:
            raise ChildRefused("too_many_children", f"An attempt has at most {MAX_CHILDREN:,} children.")
        if self._size + len(body) > MAX_TOGETHER_BYTES:
            text = f"The children of an attempt have at most {MAX_TOGETHER_BYTES // 2**20} MiB of JSON together."
            raise ChildRefused("too_many_children", text)
        self._size += len(body)
        self._children[key] = body

    def add_unheard(self, body: bytes) -> None:
        """Take a child whose tool does not listen: what is wrong with it fails the attempt."""
        try:
            self.add(body)
        except ChildRefused as refused:
            self.fault = self.fault or Fault(refused.code, str(refused), retryable=False)

    def children(self) -> list[tuple[str, bytes]]:
        """Key and body of each, in the order in which they were asked for."""
        return list(self._children.items())
