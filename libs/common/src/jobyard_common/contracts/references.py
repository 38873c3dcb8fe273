"""References in a workflow: `${steps.clean.result.rows[0]}` in the parameters of a step.

    reference = "${" ( "input" path | "item" path | "index" | step ) "}"
    step      = "steps." name ( ".result" path | ".files." file | ".state" | ".job_id" )
    path      = { "." word | "[" digits "]" | '["' characters '"]' }
    word      = letter or "_", then letters, digits, "_", "-"
    file      = the rest, the name of an output file

A text that is one reference becomes the value that it names, whatever its type. Inside a longer text a text is put in
as it is, any other value as JSON, null as nothing. `$${` is a plain `${`. There are no expressions and no functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import msgspec

STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
MAX_REFERENCE = 512
MAX_SEGMENTS = 32
_OPENING = re.compile(r"\$?\$\{")
_SEGMENT = re.compile(r'\.([A-Za-z_][A-Za-z0-9_-]*)|\[(\d{1,6})\]|\["([^"\\]{1,255})"\]')
_STEP = re.compile(r"steps\.([A-Za-z_][A-Za-z0-9_-]{0,63})\.(result|files|state|job_id)(.*)", re.DOTALL)

Path = tuple[str | int, ...]


class BadReference(ValueError):
    """A text that looks like a reference and is none; the message is for its author."""


class Unresolved(ValueError):
    """A reference whose value does not exist; the message names what was looked for."""


class Source(StrEnum):
    INPUT = "input"
    ITEM = "item"
    INDEX = "index"
    RESULT = "result"
    FILES = "files"
    STATE = "state"
    JOB_ID = "job_id"


class Reference(msgspec.Struct, frozen=True):
    """`path` leads into the value of `source`; `step` is set for what belongs to a step."""

    source: Source
    path: Path = ()
    step: str | None = None

    def __str__(self) -> str:
        head = self.source.value if self.step is None else f"steps.{self.step}.{self.source.value}"
        return head + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)


Part = str | Reference
Lookup = Callable[[Reference], object]


def parts_of(text: str) -> list[Part]:
    """Cut a text into what is plain and what is a reference.

    Raises:
        BadReference: an opening `${` that is none.
    """
    found: list[Part] = []
    plain, position = "", 0
    for opening in _OPENING.finditer(text):
        if opening.start() < position:
            continue
        plain += text[position : opening.start()]
        position = opening.end()
        if opening[0] == "$${":
            plain += "${"
            continue
        end = text.find("}", position, position + MAX_REFERENCE + 1)
        if end < 0:
            raise BadReference("A reference begins with ${ and does not end; write $${ for a plain ${.")
        if plain:
            found.append(plain)
        found.append(_reference(text[position:end]))
        plain, position = "", end + 1
    plain += text[position:]
    if plain or not found:
        found.append(plain)
    return found


def _reference(text: str) -> Reference:
    if step := _STEP.fullmatch(text):
        name, kind, rest = step[1], Source(step[2]), step[3]
        if kind is Source.FILES:
            if not rest.startswith(".") or len(rest) < 2 or len(rest) > 256:
                raise BadReference(f"${{{text[:80]}}} names no file: steps.<name>.files.<file name>.")
            return Reference(kind, (rest[1:],), name)
        if kind is not Source.RESULT and rest:
            raise BadReference(f"${{{text[:80]}}}: nothing follows {kind.value}.")
        return Reference(kind, _path(text, rest), name)
    for source in (Source.INPUT, Source.ITEM):
        if text == source.value or text.startswith((f"{source.value}.", f"{source.value}[")):
            return Reference(source, _path(text, text[len(source.value) :]))
    if text == Source.INDEX.value:
        return Reference(Source.INDEX)
    raise BadReference(
        f"${{{text[:80]}}} is no reference; there are input, item, index and steps.<name>.result, files, state, job_id."
    )


def _path(text: str, rest: str) -> Path:
    found: list[str | int] = []
    position = 0
    while position < len(rest):
        segment = _SEGMENT.match(rest, position)
        if segment is None:
            raise BadReference(f'${{{text[:80]}}} is no path: .name, [0] and ["any name"] may follow.')
        word, digits, quoted = segment.groups()
        found.append(int(digits) if digits is not None else word if word is not None else quoted)
        position = segment.end()
    if len(found) > MAX_SEGMENTS:
        raise BadReference(f"A reference has more than {MAX_SEGMENTS} members.")
    return tuple(found)


def walk(tree: object, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a JSON tree that may hold a reference, with its JSON pointer."""
    if isinstance(tree, str):
        if "${" in tree:
            yield pointer, tree
    elif isinstance(tree, dict):
        for name, value in tree.items():
            yield from walk(value, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from walk(value, f"{pointer}/{index}")


def references_of(tree: object) -> list[Reference]:
    """All references of a tree that was checked before."""
    return [part for _, text in walk(tree) for part in parts_of(text) if isinstance(part, Reference)]


def resolved(tree: Any, lookup: Lookup) -> Any:
    """The tree with its references replaced. `lookup` may raise Unresolved."""
    if isinstance(tree, str):
        return _text(tree, lookup) if "${" in tree else tree
    if isinstance(tree, dict):
        return {name: resolved(value, lookup) for name, value in tree.items()}
    if isinstance(tree, list):
        return [resolved(value, lookup) for value in tree]
    return tree


def _text(text: str, lookup: Lookup) -> object:
    parts = parts_of(text)
    if len(parts) == 1:
        return lookup(parts[0]) if isinstance(parts[0], Reference) else parts[0]
    return "".join(part if isinstance(part, str) else _as_text(lookup(part)) for part in parts)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def follow(value: object, reference: Reference) -> object:
    """What lies at the path of a reference.

    Raises:
        Unresolved: there is nothing.
    """
    here: Any = value
    for part in reference.path:
        if isinstance(part, int):
            found = isinstance(here, list) and part < len(here)
        else:
            found = isinstance(here, dict) and part in here
        if not found:
            raise Unresolved(f"${{{reference}}} does not exist: there is no {part!r}.")
        here = here[part]
    return here
