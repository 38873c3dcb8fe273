"""Hostile and mistaken tool.toml files: each is refused with its file and key."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from jobyard_executor.tools import toolfile
from jobyard_executor.tools.errors import ToolFileInvalid

HEAD = 'name = "my.tool"\nversion = "1"\n'
GOOD = HEAD + 'argv = ["sh", "{folder}/run.sh"]\n'

REFUSED = [
    ("", "name", "is missing"),
    ('name = "a"\nversion = "1"\n', "argv", "is missing"),
    ("name = ", "", "no valid TOML"),
    ("a = 1\na = 2", "", "no valid TOML"),
    ("x = " + "[" * 5000, "", "TOML|nested"),
    ("x = '''" + "y" * 70_000 + "'''", "", "more than 65,536 bytes"),
    (GOOD + "colour = 1", "colour", "not known here"),
    (GOOD.replace("my.tool", "My Tool"), "name", "lower-case"),
    (GOOD.replace("my.tool", "a" * 129), "name", "128 characters"),
    (GOOD.replace('"my.tool"', "7"), "name", "text in quotes"),
    (GOOD.replace('"1"', "1"), "version", "text in quotes"),
    (GOOD.replace('"1"', '"1.0-beta"'), "version", "not of the form"),
    (GOOD + 'queue = "A B"', "queue", "must match"),
    (GOOD + "timeout_s = 0", "timeout_s", "seconds above 0"),
    (GOOD + "timeout_s = inf", "timeout_s", "seconds above 0"),
    (GOOD + "timeout_s = nan", "timeout_s", "seconds above 0"),
    (GOOD + "timeout_s = true", "timeout_s", "seconds above 0"),
    (GOOD + "timeout_s = 700000", "timeout_s", "at most 604800"),
    (GOOD + "timeout_s = 5\nsoft_timeout_s = 5", "soft_timeout_s", "below timeout_s"),
    (GOOD + 'min_isolation = "L9"', "min_isolation", "none of L0"),
    (GOOD + "title = 'a\\u0000b'".replace("'", '"'), "title", "NUL"),
    (GOOD + "[retry]\nmax_attempts = 0", "retry.max_attempts", "from 1 to 100"),
    (GOOD + "[retry]\nattempts = 3", "retry.attempts", "not known here"),
    (GOOD + '[retry]\nbackoff = "random"', "retry.backoff", "none of fixed"),
    (GOOD + "[retry]\njitter = 2", "retry.jitter", "from 0 to 1"),
    (GOOD + "[retry]\nnon_retryable = [1]", "retry.non_retryable", "list of texts"),
    (GOOD + "slots = 1", "slots", "must be a table"),
    (GOOD + '[slots."../x"]', "slots.../x", "must match"),
    (GOOD + "[slots.data]\nneeded = true", "slots.data.needed", "not known here"),
    (GOOD + "[slots.data]\nrequired = 1", "slots.data.required", "true or false"),
    (GOOD + "examples = [1]", "examples", "list of tables"),
    (GOOD + "[limits]\nwhen = 2020-01-01", "limits", "written as JSON"),
    (GOOD + '[parameters]\ntype = "array"', "parameters.type", "must be"),
    (GOOD + '[parameters.properties.a]\ntype = "int"', "parameters.properties.a.type", "int"),
    (GOOD + "[parameters.properties.a]\nminimum = 'x'", "parameters.properties.a.minimum", "x"),
    (GOOD + "[parameters.properties.a]\ndefault = nan", "parameters", "written as JSON"),
    (GOOD + '[parameters.properties.a]\npattern = "("', "parameters.properties.a.pattern", "regular expression"),
    (GOOD + f'[parameters.properties.a]\npattern = "{"a" * 501}"', "parameters.properties.a.pattern", "500"),
    (GOOD + '[parameters.patternProperties]\n"[" = {}', "parameters.patternProperties.[", "regular expression"),
    (GOOD + '[parameters]\n"$ref" = "file:///etc/passwd"', "parameters.$ref", "nothing is fetched"),
    (GOOD + '[parameters]\n"$schema" = "http://example.org/mine"', "parameters.$schema", "nothing is fetched"),
    (GOOD + "parameters." + ".".join("a" * 1 for _ in range(40)) + " = 1", "parameters", "nested too deeply"),
    (HEAD + 'argv = "sh run.sh"', "argv", "list of texts"),
    (HEAD + "argv = []", "argv", "1 to 64"),
    (HEAD + 'argv = ["sh", 1]', "argv", "list of texts"),
    (HEAD + f"argv = {['a'] * 65}", "argv", "1 to 64"),
    (HEAD + f'argv = ["sh", "{"a" * 5000}"]', "argv[1]", "4,096 bytes"),
    (HEAD + 'argv = ["sh", "a\\u0000b"]', "argv[1]", "NUL"),
    (HEAD + 'argv = [""]', "argv[0]", "is empty"),
    (HEAD + 'argv = ["no-such-program-here"]', "argv[0]", "not installed"),
    (HEAD + 'argv = ["./missing"]', "argv[0]", "there is no"),
    (HEAD + 'argv = ["./data.txt"]', "argv[0]", "not an executable"),
    (HEAD + 'argv = ["/etc"]', "argv[0]", "not an executable"),
    (HEAD + 'argv = ["../run.sh"]', "argv[0]", "leaves the tool's folder"),
    (HEAD + 'argv = ["sh", "{folder}/../../etc/passwd"]', "argv[1]", "leaves the tool's folder"),
    (HEAD + 'argv = ["sh", "../x"]', "argv[1]", "leaves the tool's folder"),
    (HEAD + 'argv = ["sh", "{folder}/outside"]', "argv[1]", "leads out"),
    (HEAD + 'argv = ["sh", "{folder}/missing.sh"]', "argv[1]", "there is no"),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "tool"
    folder.mkdir()
    (folder / "run.sh").write_text("exit 0\n")
    (folder / "data.txt").write_text("data")
    (folder / "outside").symlink_to("/etc/passwd")
    return folder / "tool.toml"


@pytest.mark.parametrize(("text", "key", "message"), REFUSED, ids=lambda value: ascii(value)[-40:])
def test_a_mistake_is_named_with_file_and_key(text: str, key: str, message: str, place: Path) -> None:
    place.write_text(text)
    with pytest.raises(ToolFileInvalid, match=message) as caught:
        toolfile.read(place)
    assert caught.value.path == place
    assert str(caught.value).startswith(f"{place}: ")
    assert caught.value.key.startswith(key) if key else caught.value.key == ""


def test_bytes_that_are_no_text(place: Path) -> None:
    place.write_bytes(b'name = "\xff"')
    with pytest.raises(ToolFileInvalid, match="not UTF-8"):
        toolfile.read(place)


def test_a_folder_named_tool_toml(place: Path) -> None:
    place.mkdir()
    with pytest.raises(ToolFileInvalid, match="not a regular file"):
        toolfile.read(place)


def test_what_is_read(place: Path) -> None:
    place.write_text(
        HEAD
        + """
argv = ["{python}", "-I", "{folder}/run.sh", "{literal}", "--flag"]
title = "Mine"
timeout_s = 60
min_isolation = "L2"
[slots.data]
required = false
[parameters.properties]
n = { type = "integer" }
[retry]
max_attempts = 2
"""
    )
    tool = toolfile.read(place)
    assert tool.argv == (sys.executable, "-I", str(place.parent / "run.sh"), "{literal}", "--flag")
    assert tool.parameters == {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "additionalProperties": False,
    }
    assert (tool.title, tool.timeout_s, tool.min_isolation, tool.queue) == ("Mine", 60.0, "L2", "default")
    assert not tool.slots["data"].required
    assert tool.retry == {"max_attempts": 2}


def test_a_tool_may_allow_parameters_it_does_not_know(place: Path) -> None:
    place.write_text(GOOD + "[parameters]\nadditionalProperties = true")
    assert toolfile.read(place).parameters["additionalProperties"] is True
