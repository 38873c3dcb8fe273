"""Names that people gave to files: kept to be shown, never to be a path."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

MAX_BYTES = 255
UNNAMED = "unnamed"
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
_FORBIDDEN = frozenset('<>:"|?*')


def safe_name(text: str) -> str:
    """The last component of `text`, in NFC, without control, format (bidi marks too) and shell-hostile characters.

    Never empty, at most 255 bytes of UTF-8 with the extension kept, and no device name of Windows.
    """
    last = text.replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(_plain(character) for character in unicodedata.normalize("NFC", last))
    trimmed = " ".join(kept.split()).strip(". ")
    if not trimmed:
        return UNNAMED
    if last.startswith(".") and kept.startswith("."):
        trimmed = f".{trimmed}"
    if trimmed.partition(".")[0].lower() in _DEVICES:
        trimmed = f"_{trimmed}"
    return _cut(trimmed)


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category.startswith("C"):
        return ""
    if category.startswith("Z"):
        return " "
    return "_" if character in _FORBIDDEN else character


def _cut(name: str) -> str:
    if len(name.encode()) <= MAX_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = dot + extension if stem and len(extension.encode()) <= 16 else ""
    body = name[: len(name) - len(tail)].encode()[: MAX_BYTES - len(tail.encode())]
    return body.decode("utf-8", "ignore") + tail


def disposition(name: str, *, inline: bool) -> str:
    """A `Content-Disposition` (RFC 6266) with an ASCII fallback and the true name."""
    kind = "inline" if inline else "attachment"
    plain = "".join(c if c.isascii() and c not in '"\\%' else "_" for c in name)
    if plain == name:
        return f'{kind}; filename="{plain}"'
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
