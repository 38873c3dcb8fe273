"""What goes where: documents and asked-for data on stdout, everything said about them on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

_KEPT = frozenset("\n\t")


def clean(text: object) -> str:
    """Text of others without what could steer a terminal: control characters, escapes, reversed writing."""
    return "".join(character if character in _KEPT or _harmless(character) else "�" for character in str(text))


def one_line(text: object, *, width: int = 200) -> str:
    line = " ".join(clean(text).split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _harmless(character: str) -> bool:
    code = ord(character)
    return not (code < 32 or 127 <= code < 160 or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069) and not (
        0xD800 <= code <= 0xDFFF
    )


class Output:
    """`json` = stdout holds JSON documents only."""

    def __init__(self, *, json: bool) -> None:
        self.json = json

    def document(self, document: object) -> None:
        """One JSON document on a line of its own; ASCII, so that no locale can break it."""
        sys.stdout.write(json.dumps(document, ensure_ascii=True) + "\n")
        sys.stdout.flush()

    def pretty(self, value: object) -> None:
        """A JSON value for people."""
        self.print(clean(json.dumps(value, ensure_ascii=False, indent=2)))

    def print(self, text: str) -> None:
        """Asked-for text on stdout."""
        _write(sys.stdout, text + "\n")

    def say(self, text: str) -> None:
        """Prose on stderr."""
        _write(sys.stderr, text + "\n")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table on stdout, never narrower than its ids when it goes to a pipe."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for number, column in enumerate(columns):
            table.add_column(column, overflow="fold" if number == 0 else "ellipsis", no_wrap=number == 0)
        for row in rows:
            table.add_row(*(Text(one_line("" if cell is None else cell, width=120)) for cell in row))
        console = Console(width=None if sys.stdout.isatty() else 240)
        console.print(table)

    def facts(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """Names and values, one pair a line; empty ones are left out."""
        shown = [(name, value) for name, value in pairs if value not in (None, "", [], {})]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
            self.print(f"{name:<{width}}  {one_line(text, width=2000)}")


def interactive() -> bool:
    """Whether a person watches stderr."""
    return sys.stderr.isatty()


def _write(stream: Any, text: str) -> None:
    """Print even where the locale cannot show every character."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
