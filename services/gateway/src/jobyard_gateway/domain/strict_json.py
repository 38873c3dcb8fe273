"""JSON as we accept it: everything that two readers could understand differently is refused.

A harmless body pays for one decode and a few byte counts. The number of colons proves that no key came twice: every
member has one colon outside texts, so a tree with as many members as the text has colons lost none. Only a body that
can't be proved harmless is read again by the careful parser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec

MAX_DEPTH = 32
MAX_MEMBERS = 10_000
MAX_INTEGER_DIGITS = 400

_decode = msgspec.json.Decoder().decode
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_MANY_DIGITS = re.compile(rb"[0-9]{%d}" % (MAX_INTEGER_DIGITS + 1))


class MalformedJson(ValueError):
    """The body is not JSON that every reader understands alike; the text says why, for the sender."""


def parse(body: bytes, *, most: int = MAX_MEMBERS) -> object:
    """The tree of `body`, which may have `most` members.

    Raises:
        MalformedJson: not JSON, or one of the rules of this module is broken.
    """
    try:
        tree = _decode(body)
    except UnicodeDecodeError:
        raise MalformedJson("The body is not valid UTF-8.") from None
    except RecursionError:
        raise MalformedJson(f"More than {MAX_DEPTH} levels of nesting.") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise MalformedJson(_reason(body, str(error))) from None
    colons = body.count(b":")
    harmless = (
        colons <= most
        and body.count(b"{") + body.count(b"[") <= MAX_DEPTH
        and (len(body) <= MAX_INTEGER_DIGITS or _MANY_DIGITS.search(body) is None)
        and _members(tree) == colons
    )
    if not harmless:
        _read_carefully(body, most)
    return tree


def object_within(body: bytes, part: bytes) -> dict[str, object] | None:
    """The tree of the object `part` of `body`, if nothing can be wrong with it; the rest of `body` was judged before.

    None says that it is malformed, or that it takes the careful parser to tell.
    """
    if (
        part[:1] != b"{"
        or part[-1:] != b"}"
        or body.count(b":") > MAX_MEMBERS
        or body.count(b"{") + body.count(b"[") > MAX_DEPTH
        or (len(part) > MAX_INTEGER_DIGITS and _MANY_DIGITS.search(part) is not None)
        or b"\\u0000" in part
    ):
        return None
    try:
        tree = _decode(part)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return tree if type(tree) is dict and _members(tree) == part.count(b":") else None


def nul_pointers(body: bytes, tree: object) -> list[str]:
    """JSON pointers of the texts that hold a NUL, which no store of ours can keep."""
    return list(_nuls(tree, "")) if b"\\u0000" in body else []


def escape(name: str) -> str:
    """`name` as one step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def _members(tree: object) -> int:
    count = 0
    if type(tree) is dict:
        count = len(tree)
        for value in tree.values():
            if type(value) is dict or type(value) is list:
                count += _members(value)
    elif type(tree) is list:
        for value in tree:
            if type(value) is dict or type(value) is list:
                count += _members(value)
    return count


def _read_carefully(body: bytes, most: int) -> None:
    if _depth(body) > MAX_DEPTH:
        raise MalformedJson(f"More than {MAX_DEPTH} levels of nesting.")
    left = most

    def members(pairs: list[tuple[str, object]]) -> None:
        nonlocal left
        left -= len(pairs)
        if left < 0:
            raise MalformedJson(f"More than {most:,} members.")
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise MalformedJson(f"The key {name[:64]!r} comes twice in one object.")
            seen.add(name)

    json.loads(body.decode(), object_pairs_hook=members, parse_int=_integer)


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > MAX_INTEGER_DIGITS:
        raise MalformedJson(f"An integer of more than {MAX_INTEGER_DIGITS} digits.")
    return 0


def _depth(body: bytes) -> int:
    depth = deepest = 0
    for character in _TEXT.sub(b"", body):
        if character in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in b"}]":
            depth -= 1
    return deepest


def _nuls(tree: object, pointer: str) -> Iterator[str]:
    if isinstance(tree, str):
        if "\0" in tree:
            yield pointer
    elif isinstance(tree, dict):
        for name, value in tree.items():
            below = f"{pointer}/{escape(name)}"
            if "\0" in name:
                yield below.replace("\0", "\\u0000")
            else:
                yield from _nuls(value, below)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _nuls(value, f"{pointer}/{index}")


def _reason(body: bytes, message: str) -> str:
    if not body.strip():
        return "The body is empty."
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return "The body begins with a byte order mark; send plain UTF-8."
    if "Integer value out of range" in message:
        return f"An integer of more than {MAX_INTEGER_DIGITS} digits."
    if "out of range" in message:
        return "A number is beyond the range of a double."
    return message.partition(" - at ")[0]
