"""A request body that can be stopped from outside, as its writers see it."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Ending(StrEnum):
    """Why no more bytes come. Whatever came before is kept in every case."""

    WHOLE = "whole"
    CLIENT_GONE = "client_gone"
    IDLE = "idle"
    TAKEN_OVER = "taken_over"
    DRAINING = "draining"


class Body(Protocol):
    async def read(self, *, wait_s: float) -> bytes | Ending | None:
        """The next bytes, the end, or None if neither came within `wait_s` seconds."""

    def cut(self, why: Ending) -> None:
        """End the body now: a reader that waits is woken, and every later read gives `why`."""
