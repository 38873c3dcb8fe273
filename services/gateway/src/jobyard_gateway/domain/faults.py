"""One fault of a submit: where, and what is wrong with it."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """`pointer` is a JSON pointer into the body; `message` is written for the person who sent it."""

    pointer: str
    message: str
