"""What people and programs wrote, as text that can be stored and shown."""

from __future__ import annotations

from typing import overload

import msgspec

NUL = "\x00"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
MAX_LINE = 128 * 1024
MAX_MESSAGE = 16 * 1024
MAX_EXCEPTION = 16 * 1024
CUT = "…"


@overload
def storable(text: str, *, limit: int) -> str: ...
@overload
def storable(text: None, *, limit: int) -> None: ...
def storable(text: str | None, *, limit: int) -> str | None:
    """Without NUL, which PostgreSQL has no place for, and at most `limit` characters."""
    if text is None:
        return None
    if NUL in text:
        text = text.replace(NUL, REPLACEMENT)
    return text if len(text) <= limit else text[: limit - 1] + CUT


def json_text(raw: msgspec.Raw | None) -> str | None:
    """A JSON value as it came; None for one that is missing or null."""
    text = None if raw is None else bytes(raw).decode()
    return None if text == "null" else text
