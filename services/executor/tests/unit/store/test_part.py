"""Columns that are equal in all rows travel once; whatever travels, the rows that arrive are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_executor.store.part import FEW, LARGEST, Part, joined, places
from jobyard_executor.store.parts import ROWS

COLUMNS = (("id", "text"), ("state", "text"), ("n", "integer"))
INSERT = Part("INSERT INTO t", COLUMNS, places(COLUMNS, ["state", "n"]))


def arrived(part: Part, parameters: list[object], shared: bool) -> list[tuple[object, ...]]:
    """What PostgreSQL would make of them: arrays unnested side by side, scalars in every row."""
    arrays = {place: column for place, column in enumerate(parameters) if not (shared and place in part.steady)}
    height = len(next(iter(arrays.values())))  # type: ignore[arg-type]
    return [
        tuple(parameters[p] if p not in arrays else arrays[p][row] for p in range(len(parameters)))  # type: ignore[index]
        for row in range(height)
    ]


@given(st.lists(st.tuples(st.text(max_size=2), st.sampled_from("ab"), st.integers(0, 1)), min_size=1, max_size=30))
def test_the_rows_that_arrive_are_the_rows_given(rows: list[tuple[str, str, int]]) -> None:
    parameters, shared = INSERT.parameters(rows)
    assert arrived(INSERT, parameters, shared) == rows


def test_equal_columns_are_sent_once() -> None:
    rows = [(f"job{number}", "queued", 5) for number in range(FEW)]
    assert INSERT.parameters(rows) == ([tuple(row[0] for row in rows), "queued", 5], True)


@pytest.mark.parametrize("odd", [("x", "running", 5), ("x", "queued", 6)])
def test_one_row_that_differs_sends_all_columns_in_full(odd: tuple[str, str, int]) -> None:
    rows = [(f"job{number}", "queued", 5) for number in range(FEW)]
    parameters, shared = INSERT.parameters([*rows, odd])
    assert not shared
    assert [len(column) for column in parameters] == [FEW + 1] * 3


def test_few_rows_have_one_shape_of_statement() -> None:
    assert INSERT.parameters([("a", "queued", 5)] * (FEW - 1))[1] is False


def test_a_part_without_steady_columns_never_shares() -> None:
    assert Part("INSERT INTO t", COLUMNS).parameters([("a", "b", 1)] * 50)[1] is False


def test_nulls_are_shared_like_any_value() -> None:
    assert INSERT.parameters([(str(number), None, None) for number in range(FEW)])[0][1:] == [None, None]


def test_the_statement_names_every_column_once_and_every_parameter_in_its_place() -> None:
    assert INSERT.sql(3, shared=False) == (
        "INSERT INTO t (id, state, n) SELECT n.id, n.state, n.n "
        "FROM unnest($3::text[], $4::text[], $5::integer[]) AS n (id, state, n)"
    )
    assert INSERT.sql(3, shared=True) == (
        "INSERT INTO t (id, state, n) SELECT n.id, $4::text, $5::integer FROM unnest($3::text[]) AS n (id)"
    )


def test_an_update_names_its_rows_by_an_array_also_when_the_rest_is_shared() -> None:
    columns = (("job_id", "text"), ("state", "text"))
    part = Part("UPDATE job j", columns, places(columns, ["state"]), update=True)
    assert part.sql(1, shared=True) == (
        "UPDATE job j SET state = $2::text FROM unnest($1::text[]) AS n (job_id) "
        "WHERE j.job_id = n.job_id AND j.job_id = ANY($1::text[]) "
        "AND j.job_id BETWEEN ($1::text[])[1] AND ($1::text[])[cardinality($1::text[])]"
    )


def test_no_part_shares_the_column_that_tells_its_rows_apart() -> None:
    """At least one column must be an array, or there are no rows."""
    for name, part in ROWS.items():
        assert len(part.steady) < len(part.columns), name
        if part.update:
            assert 0 not in part.steady, name


TEXTS = Part("INSERT INTO t", (("job_id", "text"), ("spec", "text"), ("n", "integer")))


def test_texts_travel_as_one_where_they_can_be_told_apart() -> None:
    columns, _ = TEXTS.parameters([(f"job_{n}", "", n) for n in range(FEW)])
    assert TEXTS.join(columns)
    assert columns == ["\x1f".join(f"job_{n}" for n in range(FEW)), "\x1f" * (FEW - 1), tuple(range(FEW))]


@pytest.mark.parametrize("odd", [None, b"bytes", "a\x1fb"])
def test_one_text_that_cannot_be_joined_keeps_all_of_them_arrays(odd: object) -> None:
    columns, _ = TEXTS.parameters([("a", "{}", 1)] * FEW + [("b", odd, 2)])
    before = list(columns)
    assert not TEXTS.join(columns)
    assert columns == before


def test_large_texts_are_not_joined() -> None:
    size = (LARGEST - FEW + 1) // FEW
    assert joined(["x" * size] * FEW) is not None
    assert joined(["x" * (size + 1)] * FEW) is None


def test_few_rows_are_not_joined() -> None:
    columns, _ = TEXTS.parameters([("a", "{}", 1)] * (FEW - 1))
    assert not TEXTS.join(columns)


def test_the_statement_takes_what_the_parameters_are() -> None:
    assert "string_to_array($4::text" in TEXTS.sql(4, False, True)
    assert "$5::text[]" in TEXTS.sql(4, False, False)
    assert "$6::integer[]" in TEXTS.sql(4, False, True)
