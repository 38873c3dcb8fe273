from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("lang", ["python", "sh"])
def test_a_new_tool_runs_as_it_stands(call: Any, own_place: Path, lang: str) -> None:
    done = call("tools", "new", "text.find", "--lang", lang, "--dir", "mine", "--json")
    assert done.document["files"][0] == "tool.toml"
    folder = Path("mine").resolve()
    tool = tomllib.loads((folder / "tool.toml").read_text())
    assert (tool["name"], tool["version"], list(tool["slots"])) == ("text.find", "1", ["data"])
    argv = [part.replace("{python}", sys.executable).replace("{folder}", str(folder)) for part in tool["argv"]]
    work = own_place / "work"
    (work / "in").mkdir(parents=True)
    (work / "parameters.json").write_text(json.dumps({"word": "the"}))
    (work / "in" / "data").write_text("the first\na second\nall the third\n")
    env = {"JOBYARD_CHANNEL_FD": "3", "PATH": "/usr/local/bin:/usr/bin:/bin"}
    subprocess.run(["sh", "-c", 'exec "$@" 3>../channel', "sh", *argv], cwd=work, env=env, check=True)
    told = [json.loads(line) for line in (own_place / "channel").read_text().splitlines()]
    assert told
    assert json.loads((work / "result.json").read_text())["lines"] == 2
    assert (work / "out" / "lines.txt").read_text() == "the first\nall the third\n"


def test_an_empty_folder_is_filled_and_a_second_call_refused(call: Any) -> None:
    Path("mine").mkdir()
    assert call("tools", "new", "a", "--dir", "mine").code == 0
    before = Path("mine/tool.toml").read_bytes()
    assert call("tools", "new", "b", "--dir", "mine").code == 2
    assert Path("mine/tool.toml").read_bytes() == before
