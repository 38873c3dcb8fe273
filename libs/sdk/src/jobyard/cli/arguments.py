"""From what people type to what the API takes. Every fault is a UsageError that says what to write."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobyard.cli.codes import UsageError

MAX_DIGITS = 400
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)?")
_SECONDS = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SLOT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
_FILE_ID = re.compile(r"file_[0-9A-Za-z]{16,40}")


@dataclass(frozen=True)
class FileArgument:
    """`slot` None = the tool's only slot; either a `path` to upload or the `file_id` of a file that is there."""

    slot: str | None
    path: Path | None
    file_id: str | None


def parameters(given: Iterable[str]) -> dict[str, Any]:
    """`name=value`: JSON if it parses, else text."""
    found = dict[str, Any]()
    for argument in given:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise UsageError(f"-p {_shown(argument)}: write it as name=value")
        if name in found:
            raise UsageError(f"-p {_shown(name)} is given twice")
        _unicode(argument, what="-p")
        found[name] = _value(name, value)
    return found


def retry(given: Iterable[str], *, max_attempts: int | None) -> dict[str, Any]:
    """Members of `retry`; a list may be written with commas."""
    found = parameters(given)
    codes = found.get("non_retryable")
    if isinstance(codes, str):
        found["non_retryable"] = codes.split(",")
    return found if max_attempts is None else found | {"max_attempts": max_attempts}


def documents(path: str) -> list[dict[str, Any]]:
    """JSON objects: one a line, or one list of them. `-` is stdin."""
    try:
        text = sys.stdin.read() if path == "-" else readable_file(path).read_text("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{_shown(path)} is not UTF-8") from None
    try:
        whole = text.lstrip().startswith("[")
        found = json.loads(text) if whole else [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{_shown(path)} is neither JSON lines nor a JSON list: {error}") from None
    for place, one in enumerate(found):
        if not isinstance(one, dict) or not isinstance(one.get("tool"), str):
            raise UsageError(f"{_shown(path)}: item {place} is no submit, an object with tool")
    if not found:
        raise UsageError(f"{_shown(path)} holds no submit")
    return list(found)


def _value(name: str, text: str) -> Any:
    try:
        return json.loads(
            text, parse_int=_whole, parse_float=_float, parse_constant=_no_constant, object_pairs_hook=_members
        )
    except UsageError as error:
        raise UsageError(f"-p {_shown(name)}: {error}") from None
    except ValueError:
        return text
    except RecursionError:
        raise UsageError(f"-p {_shown(name)}: nested too deeply") from None


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise UsageError(f"an integer may have {MAX_DIGITS} digits; put quotes around it to send it as text")
    return int(digits)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise UsageError(f"{_shown(text)} is too large for a number")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are no JSON, so they are text


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise UsageError("a JSON object names a member twice")
    return members


def metadata(given: Iterable[str]) -> dict[str, str]:
    found = dict[str, str]()
    for argument in given:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise UsageError(f"--metadata {_shown(argument)}: write it as name=value")
        found[name] = _unicode(value, what="--metadata")
    return found


def files(given: Iterable[str]) -> list[FileArgument]:
    """`[slot=]PATH`. A path that really holds an `=` wins over the slot, or write it as `./a=b`."""
    found = [_file(argument) for argument in given]
    slots = [each.slot for each in found]
    if len(set(slots)) != len(slots):
        raise UsageError("--file: one file a slot; name the slots as --file slot=PATH")
    return found


def _file(argument: str) -> FileArgument:
    head, equals, tail = argument.partition("=")
    named = bool(equals) and _SLOT.fullmatch(head) is not None and not (_exists(argument) and not _exists(tail))
    slot, text = (head, tail) if named else (None, argument)
    if not text:
        raise UsageError(f"--file {_shown(argument)}: write it as PATH or slot=PATH")
    if _FILE_ID.fullmatch(text) and not _exists(text):
        return FileArgument(slot, None, text)
    return FileArgument(slot, readable_file(text), None)


def readable_file(text: str) -> Path:
    """A regular file that can be opened."""
    if not text:
        raise UsageError("no file is named")
    path = Path(text)
    try:
        if path.is_dir():
            raise UsageError(f"{_shown(text)} is a directory, not a file")
        if not path.exists():
            raise UsageError(f"there is no file {_shown(text)}")
        if not path.is_file():
            raise UsageError(f"{_shown(text)} is not a regular file")
        if not os.access(path, os.R_OK):
            raise UsageError(f"{_shown(text)} may not be read by this user")
    except UsageError:
        raise
    except (ValueError, OSError) as error:
        raise UsageError(f"{_shown(text)} is no usable path ({error})") from None
    return path


def seconds(text: str | None, *, option: str, zero: bool = False) -> float | None:
    """`90`, `1.5`, `500ms`, `5m`, `2h`, `1d`."""
    if text is None:
        return None
    found = _DURATION.fullmatch(text.strip())
    value = float(found[1]) * _SECONDS[found[2]] if found else -1.0
    if value < 0 or (value == 0 and not zero):
        raise UsageError(f"{option} {_shown(text)}: write seconds, or a number with ms, s, m, h or d")
    return int(value) if value.is_integer() else round(value, 3)


def texts(given: Iterable[str], *, option: str) -> list[str]:
    return [_unicode(each, what=option) for each in given]


def text(given: str, *, what: str) -> str:
    return _unicode(given, what=what)


def slot_of(tool: dict[str, Any]) -> str:
    """The only file slot of a tool's document."""
    for name in ("slots", "files", "file_slots"):
        slots = tool.get(name)
        if isinstance(slots, dict):
            names = [str(slot) for slot in slots]
        elif isinstance(slots, list):
            names = [str(slot.get("name")) if isinstance(slot, dict) else str(slot) for slot in slots]
        else:
            continue
        if len(names) == 1:
            return names[0]
        if names:
            raise UsageError(f"{tool.get('name')} has the file slots {', '.join(names)}: write --file slot=PATH")
    raise UsageError(f"{tool.get('name')} takes no file")


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def _unicode(given: str, *, what: str) -> str:
    try:
        given.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{what} {_shown(given)} is not UTF-8") from None
    return given


def _shown(given: str) -> str:
    return repr(given if len(given) <= 100 else f"{given[:97]}…")
