"""text.count and shell.run, run bare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


def test_text_count(run_command: Run) -> None:
    text = "Der Baum, der Fluß ä\nÜber größe Über\n\nlast line"
    ran = run_command("text.count", {"top": 3}, {"text": text.encode()})
    assert ran.stderr == b""
    assert ran.value == {
        "lines": 4,
        "words": 10,
        "characters": len(text),
        "bytes": len(text.encode()),
        "longest_line": 20,
        "distinct_words": 8,
        "top": [{"word": "der", "count": 2}, {"word": "Über", "count": 2}, {"word": "baum", "count": 1}],
    }
    assert [line["progress"]["done"] for line in ran.channel] == [1, 2, 3]


@pytest.mark.parametrize("top", [0, 1, 5.0, 1000])
def test_text_count_reads_any_whole_number(top: float, run_command: Run) -> None:
    ran = run_command("text.count", {"top": top}, {"text": b"a b c d e f g h"})
    assert len(ran.value["top"]) == min(int(top), 8)


def test_text_count_by_default_lists_ten(run_command: Run) -> None:
    words = " ".join(f"w{n}" for n in range(50)).encode()
    assert len(run_command("text.count", {}, {"text": words}).value["top"]) == 10


def test_text_count_of_nothing(run_command: Run) -> None:
    ran = run_command("text.count", {}, {"text": b""})
    assert (ran.value["lines"], ran.value["words"], ran.value["top"]) == (0, 0, [])


@pytest.mark.parametrize("content", [b"\xff\xfe bad", b"a\x00b", b"\x89PNG\r\n\x1a\n\x00"])
def test_text_count_refuses_what_is_no_text(content: bytes, run_command: Run) -> None:
    ran = run_command("text.count", {}, {"text": content})
    assert (ran.returncode, ran.value) == (1, None)
    error = ran.channel[-1]["error"]
    assert (error["code"], error["retryable"]) == ("not_text", False)


def test_text_count_is_not_confused_by_quotes_and_backslashes(run_command: Run) -> None:
    ran = run_command("text.count", {"top": 1000}, {"text": b'say "hi" \\n $(id) `id` \x1b[31m %s %d'})
    assert {entry["word"] for entry in ran.value["top"]} == {"say", "hi", "n", "id", "31m", "s", "d"}


def test_shell_runs_argv_without_a_shell(run_command: Run) -> None:
    ran = run_command("shell.run", {"argv": ["printf", "%s|", "a b", "$HOME", ";", "é"]})
    assert (ran.returncode, ran.stdout) == (0, "a b|$HOME|;|é|".encode())


def test_shell_runs_a_script_with_input_and_output(run_command: Run) -> None:
    ran = run_command(
        "shell.run",
        {"script": 'sort in/data > out/sorted; read line; echo "{\\"line\\": \\"$line $WHO\\"}" > result.json',
         "stdin": "hello\n", "env": {"WHO": "you"}},
        {"data": b"b\na\n"},
    )  # fmt: skip
    assert (ran.returncode, ran.value, ran.outputs) == (0, {"line": "hello you"}, {"sorted": b"a\nb\n"})


@pytest.mark.parametrize(
    ("parameters", "returncode", "code"),
    [
        ({"argv": ["no-such-program"]}, 127, "program_missing"),
        ({"argv": ["/etc/passwd"]}, 126, "program_refused"),
        ({"argv": ["/etc/passwd/x"]}, 127, "program_missing"),
        ({"argv": ["echo", "a\x00b"]}, 126, "bad_argument"),
    ],
)
def test_what_cannot_be_run_says_why(parameters: dict[str, Any], returncode: int, code: str, run_command: Run) -> None:
    ran = run_command("shell.run", parameters)
    assert (ran.returncode, ran.channel[-1]["error"]["code"]) == (returncode, code)
    assert ran.stderr


def test_the_exit_code_is_that_of_the_program(run_command: Run) -> None:
    assert run_command("shell.run", {"script": "exit 7"}).returncode == 7
    assert run_command("shell.run", {"script": "false; echo not reached"}).stdout == b""
    assert run_command("shell.run", {"script": "kill -9 $$"}).returncode == -9
