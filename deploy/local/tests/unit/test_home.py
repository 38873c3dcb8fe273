"""The data folder: one launcher at a time, private files, an honest memory of what was started."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from jobyard_local.errors import HomeBusy, StackError
from jobyard_local.home import Home, write_private
from jobyard_local.process import Identity, started_at


def test_a_second_launcher_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    first, second = Home(tmp_path / "home"), Home(tmp_path / "home")
    first.acquire()
    with pytest.raises(HomeBusy, match=f"process {os.getpid()}.*make stop"):
        second.acquire()
    assert not second.held
    first.release()
    second.acquire()
    second.release()


def test_a_home_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match="set JOBYARD_HOME"):
        Home(tmp_path / "file" / "home").acquire()


def test_private_files_are_0600_and_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["stack.json"]


def test_the_service_token_is_made_once(tmp_path: Path) -> None:
    home = Home(tmp_path)
    token = home.service_token_file().read_text()
    assert len(token) > 30
    assert home.service_token_file().read_text() == token


def test_a_process_is_known_by_its_start_time_too(tmp_path: Path) -> None:
    started = started_at(os.getpid())
    assert started is not None
    assert Identity(os.getpid(), started).alive()
    assert not Identity(os.getpid(), started + 1).alive()
    told = {"identities": {"launcher": [os.getpid(), started]}}
    (tmp_path / "processes.json").write_text(json.dumps(told))
    assert Home(tmp_path).left_running() == {"launcher": Identity(os.getpid(), started)}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"identities": 3}', '{"identities": {"a": [1]}}'])
def test_a_broken_memory_is_no_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.json").write_text(text)
    assert Home(tmp_path).left_running() == {}
