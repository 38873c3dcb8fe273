"""A member of an archive, and what is suspicious about it. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    DEVICE = "device"
    FIFO = "fifo"
    OTHER = "other"


class Flag(StrEnum):
    """Why unpacking a member by its name would be dangerous, or at least surprising."""

    ABSOLUTE_PATH = "absolute_path"
    TRAVERSAL = "traversal"
    LINK = "link"
    LINK_ESCAPES = "link_escapes"
    SPECIAL_FILE = "special_file"
    CONTROL_CHARACTERS = "control_characters"
    DUPLICATE_NAME = "duplicate_name"
    ENCRYPTED = "encrypted"
    SETUID = "setuid"
    HIGH_RATIO = "high_ratio"


@dataclass(frozen=True, kw_only=True)
class Member:
    """`size` and `packed` are bytes; `packed` is None where members are not packed one by one."""

    name: str
    kind: Kind
    size: int
    packed: int | None = None
    modified: str | None = None
    mode: int | None = None
    target: str | None = None
    encrypted: bool = False

    @property
    def ratio(self) -> float | None:
        if self.packed is None or self.size == 0:
            return None
        return round(self.size / max(self.packed, 1), 2)


def flags(member: Member, *, names: set[str], highest_ratio: float) -> list[Flag]:
    """What is suspicious about `member`; `names` are those of the members before it."""
    found = []
    if _absolute(member.name):
        found.append(Flag.ABSOLUTE_PATH)
    if ".." in _parts(member.name):
        found.append(Flag.TRAVERSAL)
    if member.kind in (Kind.SYMLINK, Kind.HARDLINK):
        found.append(Flag.LINK)
        if _escapes(member):
            found.append(Flag.LINK_ESCAPES)
    if member.kind in (Kind.DEVICE, Kind.FIFO, Kind.OTHER):
        found.append(Flag.SPECIAL_FILE)
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in member.name):
        found.append(Flag.CONTROL_CHARACTERS)
    if _folded(member.name) in names:
        found.append(Flag.DUPLICATE_NAME)
    if member.encrypted:
        found.append(Flag.ENCRYPTED)
    if member.mode is not None and member.mode & 0o6000:
        found.append(Flag.SETUID)
    if member.ratio is not None and member.ratio > highest_ratio:
        found.append(Flag.HIGH_RATIO)
    return found


def shown(member: Member, found: list[Flag]) -> dict[str, Any]:
    """A member as the result lists it: without what does not apply."""
    entry: dict[str, Any] = {"name": printable(member.name), "kind": member.kind.value, "size": member.size}
    if member.packed is not None:
        entry["packed"] = member.packed
    if member.ratio is not None:
        entry["ratio"] = member.ratio
    if member.modified is not None:
        entry["modified"] = member.modified
    if member.mode is not None:
        entry["mode"] = f"{member.mode & 0o7777:04o}"
    if member.target is not None:
        entry["target"] = printable(member.target)
    if found:
        entry["flags"] = [flag.value for flag in found]
    return entry


def remember(member: Member, names: set[str]) -> None:
    names.add(_folded(member.name))


def printable(text: str) -> str:
    """A name for people and databases: control characters and what is no Unicode replaced, and not endless."""
    safe = "".join("\ufffd" if unicodedata.category(character) in ("Cc", "Cs") else character for character in text)
    return safe if len(safe) <= 1024 else safe[:1024] + "…"


def _parts(name: str) -> list[str]:
    return re.split(r"[/\\]", name)


def _absolute(name: str) -> bool:
    return name.startswith(("/", "\\")) or bool(re.match(r"[A-Za-z]:", name))


def _escapes(member: Member) -> bool:
    """Whether a link leads out of the folder that the archive would be unpacked to."""
    target = member.target or ""
    if _absolute(target):
        return True
    depth = 0
    start = _parts(member.name)[:-1] if member.kind is Kind.SYMLINK else []
    for part in [*start, *_parts(target)]:
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False


def _folded(name: str) -> str:
    """Names that some file system would take for the same."""
    return unicodedata.normalize("NFC", name).casefold().rstrip("/")
