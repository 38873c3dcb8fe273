"""Many rows in one statement, as arrays, and what they share as scalars.

A batch mostly does one thing: its rows differ in a few columns and agree in the rest. Steady columns that are equal
in all rows travel once: encoding arrays and unnesting them again was a fifth of the executor's CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

SEPARATOR = "\x1f"
JOINABLE = frozenset({"job_id", "correlation_id", "traceparent", "run_trace", "spec"})
"""Texts that are short or JSON, are hardly ever NULL and hold no control character; see `Part.join`."""
LARGEST = 4 * 2**20
"""Characters of a joined text; beyond it the planner's copies weigh more than what is saved."""
FEW = 8
"""Below this many rows arrays cost nothing, and one shape of statement is enough."""


class Part(msgspec.Struct, frozen=True):
    """`columns` are (name, type), the id first; `steady` the places of those that a batch usually shares. Rows of an
    update are sorted by id."""

    head: str
    columns: tuple[tuple[str, str], ...]
    steady: frozenset[int] = frozenset()
    tail: str = ""
    update: bool = False
    wraps: tuple[tuple[str, str], ...] = ()
    """Expressions that make a column from what is sent for it."""

    def sql(self, first: int, shared: bool, joined: bool = False) -> str:
        """With parameters from `$first`: arrays, but scalars for the steady columns if they are `shared`, and one text
        for each of `joins` if they are `joined`."""
        arrays, names, values = [], [], []
        for place, (name, kind) in enumerate(self.columns):
            if shared and place in self.steady:
                values.append(f"${first + place}::{kind}")
            else:
                arrays.append(array(first + place, kind, joined=joined and place in self.joins))
                names.append(name)
                values.append(f"n.{name}")
        for name, wrap in self.wraps:
            place = [column for column, _ in self.columns].index(name)
            values[place] = wrap.format(values[place])
        source = f"FROM unnest({', '.join(arrays)}) AS n ({', '.join(names)})"
        if self.update:
            sets = ", ".join(
                f"{name} = {value}" for (name, _), value in list(zip(self.columns, values, strict=True))[1:]
            )
            return f"{self.head} SET {sets} {source} WHERE j.job_id = n.job_id AND {among('j.job_id', arrays[0])}"
        listed = ", ".join(name for name, _ in self.columns)
        return f"{self.head} ({listed}) SELECT {', '.join(values)} {source}{self.tail}"

    def parameters(self, rows: Sequence[Sequence[Any]]) -> tuple[list[Any], bool]:
        """One parameter a column, and whether the steady ones are shared."""
        columns: list[Any] = list(zip(*rows, strict=True))
        if len(rows) < FEW or not self.steady:
            return columns, False
        for place in self.steady:
            column = columns[place]
            if column.count(column[0]) != len(column):
                return columns, False
        for place in self.steady:
            columns[place] = columns[place][0]
        return columns, True

    def join(self, columns: list[Any]) -> bool:
        """Make each column of `joins` one text in place; whether that was possible.

        asyncpg asks of each element of an array whether it is an array, which takes longer than to encode it.
        """
        if not self.joins:
            return False
        texts = {place: joined(columns[place]) for place in self.joins}
        if None in texts.values():
            return False
        for place, text in texts.items():
            columns[place] = text
        return True

    @property
    def joins(self) -> frozenset[int]:
        """The places of the columns that may travel as one text."""
        return _joins(self.columns, self.steady)


@lru_cache
def _joins(columns: tuple[tuple[str, str], ...], steady: frozenset[int]) -> frozenset[int]:
    return frozenset(place for place, (name, _) in enumerate(columns) if name in JOINABLE and place not in steady)


def joined(texts: Sequence[Any]) -> str | None:
    """The texts as one, None if they are too few, too large, not all texts, or cannot be told apart again."""
    if len(texts) < FEW:
        return None
    try:
        text = SEPARATOR.join(texts)
    except TypeError:
        return None
    return text if len(text) <= LARGEST and text.count(SEPARATOR) == len(texts) - 1 else None


def array(number: int, kind: str, *, joined: bool) -> str:
    """The array that parameter `number` brings, as itself or as one text."""
    return f"string_to_array(${number}::text, E'\\x1f')" if joined else f"${number}::{kind}[]"


def among(column: str, ids: str) -> str:
    """That an id is one of the sorted array `ids`.

    Its bounds are named as well, because they alone choose partitions when a plan is kept: an array is not looked into.
    """
    return f"{column} = ANY({ids}) AND {column} BETWEEN ({ids})[1] AND ({ids})[cardinality({ids})]"


def places(columns: Sequence[tuple[str, str]], names: Sequence[str]) -> frozenset[int]:
    """Where the columns of these names are."""
    found = {name: place for place, (name, _) in enumerate(columns)}
    return frozenset(found[name] for name in names)
