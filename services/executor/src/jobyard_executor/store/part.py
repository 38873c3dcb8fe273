"""Many rows in one statement, as arrays, and what they share as scalars.

A batch mostly does one thing: its rows differ in a few columns and agree in the rest. Steady columns that are equal
in all rows travel once: encoding arrays and unnesting them again was a fifth of the executor's CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

FEW = 8
"""Below this many rows arrays cost nothing, and one shape of statement is enough."""


class Part(msgspec.Struct, frozen=True):
    """`columns` are (name, type); `steady` the places of those that a batch usually shares."""

    head: str
    columns: tuple[tuple[str, str], ...]
    steady: frozenset[int] = frozenset()
    tail: str = ""
    update: bool = False
    wraps: tuple[tuple[str, str], ...] = ()
    """Expressions that make a column from what is sent for it."""

    def sql(self, first: int, shared: bool) -> str:
        """With parameters from `$first`: arrays, but scalars for the steady columns if they are `shared`."""
        arrays, names, values = [], [], []
        for place, (name, kind) in enumerate(self.columns):
            if shared and place in self.steady:
                values.append(f"${first + place}::{kind}")
            else:
                arrays.append(f"${first + place}::{kind}[]")
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
            return f"{self.head} SET {sets} {source} WHERE j.job_id = n.job_id AND j.job_id = ANY(${first}::text[])"
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


def places(columns: Sequence[tuple[str, str]], names: Sequence[str]) -> frozenset[int]:
    """Where the columns of these names are."""
    found = {name: place for place, (name, _) in enumerate(columns)}
    return frozenset(found[name] for name in names)
