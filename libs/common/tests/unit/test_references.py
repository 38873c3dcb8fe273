"""The small language of references, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_common.contracts.references import (
    BadReference,
    Reference,
    Source,
    Unresolved,
    follow,
    parts_of,
    references_of,
    resolved,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${input}", [Reference(Source.INPUT)]),
        ("${input.a.b-c[0]}", [Reference(Source.INPUT, ("a", "b-c", 0))]),
        ('${item["any name.x"]}', [Reference(Source.ITEM, ("any name.x",))]),
        ("${index}", [Reference(Source.INDEX)]),
        ("${steps.a.result}", [Reference(Source.RESULT, (), "a")]),
        ("${steps.a-1.result.x}", [Reference(Source.RESULT, ("x",), "a-1")]),
        ("${steps.a.files.report.v2.csv}", [Reference(Source.FILES, ("report.v2.csv",), "a")]),
        ("n=${item}, ${index}", ["n=", Reference(Source.ITEM), ", ", Reference(Source.INDEX)]),
        ("$${input}", ["${input}"]),
        ("a $5 }", ["a $5 }"]),
        ("", [""]),
    ],
)
def test_texts_are_cut_into_plain_and_references(text: str, expected: list[Any]) -> None:
    assert parts_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "${",
        "${}",
        "${input",
        "${nope}",
        "${input.}",
        "${input..a}",
        "${input.a b}",
        "${input[-1]}",
        "${input[1e3]}",
        '${input["a]}',
        "${steps}",
        "${steps.a}",
        "${steps.a.value}",
        "${steps.a.files}",
        "${steps.a.files.}",
        "${steps.a.state.x}",
        "${steps.1a.result}",
        "${index.x}",
        "${item()}",
        "${__import__('os')}",
        "${input" + ".a" * 33 + "}",
        "${input." + "a" * 600 + "}",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(BadReference):
        parts_of(text)


def test_values_keep_their_type_and_become_text_inside_a_text() -> None:
    values = {"a": {"n": 1, "none": None, "text": "x", "list": [1, {"y": 2.5}]}}

    def lookup(reference: Reference) -> object:
        return follow(values, reference)

    tree = {"n": "${input.a.n}", "in": ["<${input.a.n}${input.a.none}${input.a.text}>", "${input.a.list}"], "k": 1}
    assert resolved(tree, lookup) == {"n": 1, "in": ["<1x>", [1, {"y": 2.5}]], "k": 1}
    assert resolved("${input.a.list}!", lookup) == '[1,{"y":2.5}]!'
    for gone in ("${input.b}", "${input.a.list[2]}", "${input.a.n.x}", "${input.a[0]}", "${input.a.list.x}"):
        with pytest.raises(Unresolved):
            resolved(gone, lookup)


def test_a_value_that_looks_like_a_reference_is_not_read_again() -> None:
    assert resolved("${input}", lambda _: "${steps.secret.result}") == "${steps.secret.result}"


@given(st.text(max_size=200))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        parts = parts_of(text)
    except BadReference:
        return
    plain = all(isinstance(part, str) for part in parts)
    assert references_of([text]) == [part for part in parts if isinstance(part, Reference)]
    assert not plain or "".join(map(str, parts)) == text.replace("$${", "${")
