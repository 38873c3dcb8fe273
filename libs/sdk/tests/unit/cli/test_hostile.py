"""Arguments that nobody should type, and the exact answer to each: exit 2, one sentence, nothing sent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from jobyard.cli import arguments
from jobyard.cli.codes import UsageError
from jobyard.client.testing import FakeYard

BYTES = os.fsdecode(b"\xff\xfe")
RUN = ["run", "test.echo"]
TABLE: list[tuple[str, list[str], str]] = [
    ("no equals sign", [*RUN, "-p", "value"], "name=value"),
    ("no name", [*RUN, "-p", "=1"], "name=value"),
    ("twice the same", [*RUN, "-p", "a=1", "-p", "a=2"], "twice"),
    ("too many digits", [*RUN, "-p", "a=" + "9" * 401], "digits"),
    ("digits beyond Python's own limit", [*RUN, "-p", "a=" + "9" * 5000], "digits"),
    ("beyond a double", [*RUN, "-p", "a=1e999"], "too large"),
    ("nested too deeply", [*RUN, "-p", "a=" + "[" * 30_000], "nested"),
    ("a member twice", [*RUN, "-p", 'a={"b": 1, "b": 2}'], "twice"),
    ("a value that is no UTF-8", [*RUN, "-p", f"a={BYTES}"], "UTF-8"),
    ("a name that is no UTF-8", [*RUN, "-p", f"{BYTES}=1"], "UTF-8"),
    ("a tag that is no UTF-8", [*RUN, "--tag", BYTES], "UTF-8"),
    ("metadata without a value", [*RUN, "--metadata", "a"], "name=value"),
    ("a file that is missing", [*RUN, "--file", "none"], "no file"),
    ("a file that is missing, in a slot", [*RUN, "--file", "data=none"], "no file"),
    ("a slot without a path", [*RUN, "--file", "data="], "slot=PATH"),
    ("an empty path", [*RUN, "--file", ""], "slot=PATH"),
    ("a directory", [*RUN, "--file", "."], "directory"),
    ("a device", [*RUN, "--file", "/dev/null"], "regular"),
    ("an endless name", [*RUN, "--file", "x" * 5000], "no "),
    ("two files for one slot", [*RUN, "--file", "here.txt", "--file", "here.txt"], "one file a slot"),
    ("a file for a tool without slots", [*RUN, "--file", "here.txt"], "takes no file"),
    ("priority 11", [*RUN, "--priority", "11"], "--priority"),
    ("priority ten", [*RUN, "--priority", "ten"], "--priority"),
    ("a huge priority", [*RUN, "--priority", "9" * 30], "--priority"),
    ("timeout zero", [*RUN, "--timeout", "0"], "--timeout"),
    ("a negative timeout", [*RUN, "--timeout=-5"], "--timeout"),
    ("timeout nan", [*RUN, "--timeout", "nan"], "--timeout"),
    ("timeout inf", [*RUN, "--timeout", "inf"], "--timeout"),
    ("a timeout in weeks", [*RUN, "--timeout", "3w"], "--timeout"),
    ("a huge timeout", [*RUN, "--timeout", "9" * 50], "--timeout"),
    ("a delay in words", [*RUN, "--delay", "tomorrow"], "--delay"),
    ("a time without a zone", [*RUN, "--run-at", "2031-05-01T08:00:00"], "zone"),
    ("no time", [*RUN, "--run-at", "soon"], "--run-at"),
    ("a key with spaces", [*RUN, "--idempotency-key", "a b"], "visible ASCII"),
    ("an empty key", [*RUN, "--idempotency-key", ""], "visible ASCII"),
    ("detach and follow", [*RUN, "--detach", "--follow"], "--detach"),
    ("download into a file", [*RUN, "--download", "here.txt"], "--download"),
    ("a queue that is no UTF-8", [*RUN, "--queue", BYTES], "Unicode"),
    ("a tool that is no UTF-8", ["run", BYTES], "Unicode"),
    ("a job id of dots", ["jobs", "show", ".."], "job id"),
    ("an empty job id", ["jobs", "show", ""], "job id"),
    ("a job id that is no UTF-8", ["jobs", "show", BYTES], "job id"),
    ("an endless job id", ["jobs", "show", "j" * 100_000], "job id"),
    ("a job id with an escape", ["jobs", "show", "job\x1b[31m"], "job id"),
    ("a cursor that is no UTF-8", ["jobs", "list", "--cursor", BYTES], "Unicode"),
    ("limit 201", ["jobs", "list", "--limit", "201"], "--limit"),
    ("putting a directory", ["files", "put", "/"], "directory"),
    ("putting nothing", ["files", "put", ""], "no "),
    ("putting what may not exist", ["files", "put", "a/b/c"], "no file"),
    ("a tool name with a way out", ["tools", "new", "../evil"], "tool name"),
    ("a tool name in capitals", ["tools", "new", "Evil"], "tool name"),
    ("a language that is none", ["tools", "new", "good", "--lang", "cobol"], "--lang"),
    ("a folder that is taken", ["tools", "new", "good", "--dir", "."], "not empty"),
]


@pytest.mark.parametrize(("arguments", "says"), [case[1:] for case in TABLE], ids=[case[0] for case in TABLE])
def test_hostile_arguments(call: Any, logged_in: FakeYard, arguments: list[str], says: str) -> None:
    Path("here.txt").write_text("x")
    done = call(*arguments)
    assert (done.code, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr) < 3000
    assert not [each for each in logged_in.yard.seen if each[0] == "POST"]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("", None),
        ("127.0.0.1:8080", "jy_x"),
        ("file:///etc/passwd", "jy_x"),
        ("http://", "jy_x"),
        ("http://127.0.0.1:99999", "jy_x"),
        ("http://127.0.0.1:port", "jy_x"),
        ("http://[::1", "jy_x"),
        ("http://user:secret@127.0.0.1", "jy_x"),
        ("http://127.0.0.1/?a=b", "jy_x"),
        ("http://127.0.0.1/\r\nX-Evil: 1", "jy_x"),
        ("http://exämple.test", "jy_x"),
        ("http://127.0.0.1:9", "jy_\r\nX-Evil: 1"),
        ("http://127.0.0.1:9", "jy_ü"),
        ("http://127.0.0.1:9", "jy_x y"),
        ("http://127.0.0.1:9", os.fsdecode(b"jy_\xff")),
        ("http://127.0.0.1:9", "x" * 100_000),
    ],
)
def test_settings_that_name_no_server(call: Any, monkeypatch: pytest.MonkeyPatch, url: str, key: str | None) -> None:
    monkeypatch.setenv("JOBYARD_URL", url)
    if key is not None:
        monkeypatch.setenv("JOBYARD_API_KEY", key)
    done = call("status", "--json")
    assert done.code == 2
    assert done.document["code"] == "usage"
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    "content",
    [b"url = ", b"\xff\xfe", b"url = 5\napi_key = 'x'", b"api_key = 'x'", b"", b"url = 'gopher://x'\napi_key = 'k'"],
)
def test_a_config_file_that_is_none(call: Any, own_place: Path, content: bytes) -> None:
    path = own_place / "home" / ".config" / "jobyard" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    done = call("status")
    assert done.code == 2
    assert "config.toml" in done.stderr


def test_a_config_that_is_a_directory(call: Any, own_place: Path) -> None:
    (own_place / "home" / ".config" / "jobyard" / "config.toml").mkdir(parents=True)
    assert call("status").code == 2


@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b"{}", b'{"gateway_url": 5}', b"[" * 50_000])
def test_a_stack_file_that_is_none(call: Any, content: bytes) -> None:
    Path(".jobyard").mkdir()
    Path(".jobyard/stack.json").write_bytes(content)
    done = call("status")
    assert done.code == 2
    assert "stack.json" in done.stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-0.5", -0.5),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('"7"', "7"),
        ("7a", "7a"),
        ("", ""),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("{bad", "{bad"),
        ("a=b", "a=b"),
        ("1" * 400, int("1" * 400)),
    ],
)
def test_values_are_json_if_they_parse(text: str, value: Any) -> None:
    assert arguments.parameters([f"x={text}"]) == {"x": value}


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90), ("1.5", 1.5), ("500ms", 0.5), ("5m", 300), ("2h", 7200), ("1d", 86_400)]
)
def test_durations(text: str, value: float) -> None:
    assert arguments.seconds(text, option="--timeout") == value


def test_a_path_with_an_equals_sign() -> None:
    Path("a=b").write_text("x")
    Path("b").write_text("x")
    assert arguments.files(["./a=b"])[0].slot is None
    assert arguments.files(["a=b"])[0].slot == "a", "both readings exist: the slot wins"
    Path("b").unlink()
    assert arguments.files(["a=b"])[0].slot is None


def test_an_id_instead_of_a_path() -> None:
    found = arguments.files(["data=file_0001HZX3M5E6F7G8H9JKMNPQRSTV"])[0]
    assert (found.slot, found.path, found.file_id) == ("data", None, "file_0001HZX3M5E6F7G8H9JKMNPQRSTV")


def test_a_name_that_is_no_utf8_goes_up(call: Any, logged_in: FakeYard) -> None:
    Path(os.fsdecode(b"\xff.csv")).write_text("x")
    done = call("files", "put", os.fsdecode(b"\xff.csv"), "--json")
    assert (done.code, done.document["name"]) == (0, "\ufffd.csv")


def test_one_file_a_slot() -> None:
    Path("a").write_text("x")
    with pytest.raises(UsageError):
        arguments.files(["x=a", "x=a"])
