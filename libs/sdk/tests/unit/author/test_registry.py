"""Declaring tools: what is derived, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jobyard.author import Context, Result, ResultTooLarge, Slot, ToolDefinitionError, ToolError, tool
from jobyard.author.errors import BadParameters, ResultInvalid
from jobyard.author.testing import Trial
from jobyard.author.values import RESULT_LIMIT, encode_result
from pydantic import BaseModel, Field


class Loose(BaseModel):
    count: int = Field(default=1, ge=0, le=10)
    value: Any = None


@tool("greet", slots=("data",))
async def greet(ctx: Context, params: Loose) -> Any:
    """Say hello.

    With more words.
    """
    return params.value


@tool("plain", version="2.1", slots={"data": Slot(required=False)})
def plain(ctx: Context) -> Result:
    """Nothing to set."""
    return Result({"attempt": ctx.attempt})


def test_what_is_not_said_is_derived() -> None:
    assert (greet.isolation, plain.isolation) == ("async", "process")
    assert (greet.title, greet.description.splitlines()[-1]) == ("Say hello", "With more words.")
    assert (greet.queue, greet.min_isolation, greet.timeout_s, greet.version) == ("default", "L0", None, "1")
    assert greet.slots["data"].required and not plain.slots["data"].required


def test_unknown_parameters_are_refused_even_by_a_loose_model() -> None:
    assert greet.parameters_schema()["additionalProperties"] is False
    with pytest.raises(BadParameters, match="/extra"):
        greet.parse(b'{"extra": 1}')
    with pytest.raises(BadParameters):
        plain.parse(b'{"extra": 1}')


def test_every_fault_is_named() -> None:
    with pytest.raises(BadParameters) as caught:
        greet.parse(b'{"count": 11, "extra": 1}')
    assert "/count" in caught.value.message and "/extra" in caught.value.message
    assert (caught.value.code, caught.value.retryable) == ("validation_failed", False)


@pytest.mark.parametrize(
    "text",
    [
        "9" * 400,
        "-" + "1" * 399,
        "1.1",
        "1e308",
        "5e-324",
        '"\\u00e9\U0001f600"',
        '{"b":1,"a":[{"z":null,"y":true}]}',
        "123456789012345678901234567890",
    ],
)
def test_parameters_come_back_byte_true(text: str, tmp_path: Path) -> None:
    params = greet.parse(f'{{"value": {text}}}'.encode())
    assert isinstance(params, Loose)
    assert json.loads(encode_result(params.value)) == json.loads(text)
    assert list(json.loads(encode_result(params.value))) == list(json.loads(text)) if text[0] == "{" else True
    if text.lstrip("-").isdigit():
        assert encode_result(params.value).decode() == text


def test_a_trial_runs_both_isolations(tmp_path: Path) -> None:
    assert Trial(greet, {"value": [1, {"a": None}]}, folder=tmp_path).run() == [1, {"a": None}]
    assert Trial(plain, folder=tmp_path, attempt=3).run() == {"attempt": 3}


def test_a_result_has_a_limit_and_names_the_way_out() -> None:
    assert len(encode_result("x" * (RESULT_LIMIT - 2))) == RESULT_LIMIT
    with pytest.raises(ResultTooLarge, match="save_file") as caught:
        encode_result("x" * (RESULT_LIMIT - 1))
    assert (caught.value.code, caught.value.retryable) == ("resource_exhausted", False)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object(), {1, 2}, b"bytes"])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(ResultInvalid):
        encode_result(value)


def test_a_cycle_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ResultInvalid):
        encode_result(endless)


def test_models_and_paths_become_json() -> None:
    assert encode_result({"m": Loose(count=2), "p": Path("/a")}) == b'{"m":{"count":2,"value":null},"p":"/a"}'


def bare(ctx: Context) -> None: ...


async def waiting(ctx: Context) -> None: ...


def unannotated(ctx: Context, params) -> None: ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    ("options", "function", "message"),
    [
        ({"name": "Bad Name"}, bare, "lower-case"),
        ({"name": "a..b"}, bare, "lower-case"),
        ({"name": "a" * 129}, bare, "128"),
        ({"name": "a", "version": "01"}, bare, "version"),
        ({"name": "a", "version": "1.0.0.0"}, bare, "version"),
        ({"name": "a", "queue": "Fast!"}, bare, "queue"),
        ({"name": "a", "isolation": "async"}, bare, "async function"),
        ({"name": "a", "isolation": "process"}, waiting, "plain function"),
        ({"name": "a", "timeout_s": 0}, bare, "timeout_s"),
        ({"name": "a", "timeout_s": 1e9}, bare, "timeout_s"),
        ({"name": "a", "timeout_s": 5, "soft_timeout_s": 5}, bare, "below timeout_s"),
        ({"name": "a", "retry": {"attempts": 3}}, bare, "attempts"),
        ({"name": "a", "slots": ("No",)}, bare, "slot"),
        ({"name": "a"}, unannotated, "pydantic"),
        ({"name": "a"}, lambda: None, "context"),
    ],
)
def test_a_wrong_declaration_says_what_to_change(options: dict[str, Any], function: Any, message: str) -> None:
    with pytest.raises(ToolDefinitionError, match=message):
        tool(**options)(function)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "a\x00", "\ud800", "x" * 256, "é" * 128])
def test_an_output_file_needs_a_plain_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        Trial(plain, folder=tmp_path).ctx.save_file(name)
    assert caught.value.code == "bad_file_name"


def test_files_go_in_and_out(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("hello")
    trial = Trial(plain, folder=tmp_path, files={"data": tmp_path / "in.txt"})
    with trial.ctx.open_file("data") as file:
        trial.ctx.save_file("x" * 255).write_bytes(file.read())
    assert trial.outputs == {"x" * 255: b"hello"}
    assert trial.ctx.has_file("data") and not trial.ctx.has_file("other")
    with pytest.raises(ToolError, match="no file 'other'"):
        trial.ctx.open_file("other")


def test_children_are_asked_for_as_plain_json(tmp_path: Path) -> None:
    trial = Trial(plain, folder=tmp_path)
    first = trial.ctx.submit({"tool": "a", "parameters": {"n": 1}}, key="one")
    assert first != trial.ctx.submit({"tool": "b"})
    assert trial.backend.children == [{"tool": "a", "parameters": {"n": 1}, "key": "one"}, {"tool": "b"}]
    with pytest.raises(ToolError, match="plain JSON"):
        trial.ctx.submit({"tool": "a", "parameters": {"n": object()}})
    with pytest.raises(ToolError, match="plain JSON"):
        trial.ctx.submit({"tool": "a", "parameters": {"n": float("nan")}})
