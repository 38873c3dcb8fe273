"""What an executor offers, and how packs are found."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from jobyard.author import Context, Pack, tool
from jobyard_executor.tools import catalogue
from jobyard_executor.tools.catalogue import Catalogue
from jobyard_executor.tools.errors import CatalogueError, DuplicateTool, PackInvalid, ToolFileInvalid, UnknownPack
from jsonschema import Draft202012Validator

ASYNC = ("noop", "echo", "sleep", "fail", "flaky", "print", "log", "count", "digest", "children")
PROCESS = (*ASYNC, "tree", "cpu", "alloc", "files")
COMMAND = ("noop", "echo", "sleep", "fail", "print", "tree", "cpu", "alloc", "files", "children")


def names(found: Catalogue) -> set[str]:
    return {definition["name"] for definition in found.definitions()}


def test_core_is_always_there_and_shell_and_test_are_not() -> None:
    assert names(catalogue.load([])) == {"table.profile", "http.fetch", "archive.inspect", "text.count"}


def test_shell_needs_its_own_switch() -> None:
    assert "shell.run" not in names(catalogue.load(["shell"]))
    assert "shell.run" in names(catalogue.load([], enable_shell=True))


def test_the_test_pack_has_every_variant(tools: Catalogue) -> None:
    expected = {f"test.{name}" for name in ASYNC}
    expected |= {f"test.{name}.process" for name in PROCESS} | {f"test.{name}.command" for name in COMMAND}
    assert {name for name in names(tools) if name.startswith("test.")} == expected


def test_definitions_are_json_with_a_valid_closed_schema(tools: Catalogue) -> None:
    for definition in tools.definitions():
        assert json.loads(json.dumps(definition)) == definition
        schema = definition["parameters_schema"]
        Draft202012Validator.check_schema(schema)
        assert schema["additionalProperties"] is False, definition["name"]
        assert len(definition["hash"]) == 64
        for example in definition["examples"]:
            Draft202012Validator(schema).validate(example)


def test_the_test_pack_never_retries_by_itself(tools: Catalogue) -> None:
    for definition in tools.definitions():
        if definition["name"].startswith("test."):
            assert definition["retry"] == {"max_attempts": 1}
            assert definition["queue"] == "default"


@pytest.mark.parametrize("name", COMMAND)
def test_a_script_has_the_parameters_of_its_python_twin(name: str, tools: Catalogue) -> None:
    twin = tools.functions[f"test.{name}.process", "1"].parameters_schema()
    script = tools.commands[f"test.{name}.command", "1"].parameters_schema()
    extra = {"exit_code"} if name == "fail" else set()
    assert set(script.get("properties", {})) - extra == set(twin.get("properties", {}))
    assert script.get("required", []) == twin.get("required", [])
    for key, described in twin.get("properties", {}).items():
        for word in ("type", "minimum", "maximum", "maxLength", "minLength", "enum", "default"):
            if described.get(word) is not None:
                assert script["properties"][key].get(word) == described[word], (key, word)


@pytest.mark.parametrize(
    ("tool_name", "parameters"),
    [
        ("test.sleep", {"seconds": 86_401}),
        ("test.sleep", {"seconds": -1}),
        ("test.sleep", {"steps": 1001}),
        ("test.sleep", {"on_soft_limit": "explode"}),
        ("test.sleep", {"ignore_sigterm": True}),
        ("test.sleep.process", {"marker": "x" * 201}),
        ("test.sleep.command", {"marker": "x" * 201}),
        ("test.fail", {"exit_code": 3}),
        ("test.fail.command", {"exit_code": 256}),
        ("test.flaky", {"failures": 101}),
        ("test.print", {"lines": 10_000_001}),
        ("test.log", {"lines": 100_001}),
        ("test.count", {"path": "relative"}),
        ("test.count", {}),
        ("test.tree.command", {"marker": "short"}),
        ("test.tree.process", {"marker": "long enough", "children": 51}),
        ("test.cpu.process", {"seconds": 3601}),
        ("test.alloc.process", {"mebibytes": 0}),
        ("test.files.command", {"bytes": 1_000_000_001}),
        ("test.noop.command", {"extra": 1}),
        ("table.profile", {"top": 0}),
        ("table.profile", {"top": 101}),
        ("shell.run", {}),
        ("shell.run", {"argv": ["a"], "script": "b"}),
        ("shell.run", {"script": "b", "env": {"LD_PRELOAD": "x"}}),
        ("shell.run", {"script": "b", "env": {"JOBYARD_FENCE": "9"}}),
    ],
)
def test_out_of_range_is_seen_by_the_schema(tool_name: str, parameters: dict[str, Any], tools: Catalogue) -> None:
    (definition,) = (found for found in tools.definitions() if found["name"] == tool_name)
    assert not Draft202012Validator(definition["parameters_schema"]).is_valid(parameters)


def test_the_hash_follows_the_definition() -> None:
    def made(title: str) -> str:
        found = Catalogue()
        found.add(tool("a", title=title)(_nothing), origin="here")
        return str(found.definitions()[0]["hash"])

    assert made("One") == made("One") != made("Two")


def _nothing(ctx: Context) -> None: ...


def test_a_pack_that_is_not_installed_is_named_with_those_that_are() -> None:
    with pytest.raises(UnknownPack, match=r"'tset'.*archive, http, shell, tables, test, text"):
        catalogue.load(["tset"])


def test_the_same_tool_twice_names_both_places(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tool.toml").write_text('name = "a"\nversion = "1"\nargv = ["sh"]\n')
    with pytest.raises(DuplicateTool, match=r"two/tool\.toml.*one/tool\.toml"):
        catalogue.load([], folders=[tmp_path])


def test_a_folder_may_be_one_tool_or_hold_several(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "tool.toml").write_text('name = "mine"\nversion = "1"\nargv = ["sh"]\n')
    (tmp_path / "README").write_text("not a tool")
    assert ("mine", "1") in catalogue.load([], folders=[tmp_path]).commands
    assert ("mine", "1") in catalogue.load([], folders=[tmp_path / "one"]).commands


def test_a_folder_without_a_tool_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ToolFileInvalid, match="holds no tool"):
        catalogue.load([], folders=[tmp_path])
    with pytest.raises(ToolFileInvalid, match="is not a folder"):
        catalogue.load([], folders=[tmp_path / "missing"])


def test_a_link_to_a_tool_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "tool.toml").write_text('name = "a"\nversion = "1"\nargv = ["sh"]\n')
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ToolFileInvalid, match="leads out of its folder"):
        catalogue.load([], folders=[tmp_path / "tools"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("jobyard_executor.no_such_module:PACK", "cannot be imported"),
        ("jobyard_executor.tools.catalogue:NOTHING", "cannot be imported"),
        ("jobyard_executor.tools.catalogue:CORE", "not a jobyard.author.Pack"),
    ],
)
def test_a_broken_pack_says_what_is_wrong(value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint(name="broken", value=value, group=catalogue.GROUP)
    real = catalogue.entry_points
    monkeypatch.setattr(catalogue, "entry_points", lambda *, group: [*real(group=group), broken])
    with pytest.raises(PackInvalid, match=message):
        catalogue.load(["broken"])


def test_every_error_is_a_catalogue_error() -> None:
    assert all(issubclass(kind, CatalogueError) for kind in (UnknownPack, PackInvalid, DuplicateTool, ToolFileInvalid))
    assert Pack(name="empty").functions == ()
