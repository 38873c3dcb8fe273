"""Where the command line finds its server."""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from jobyard.client.config import config_path, find, write
from jobyard.client.testing import FakeYard
from jobyard.errors import ConfigurationError

STACK = {"version": 1, "gateway_url": "http://127.0.0.1:1111", "api_key": "jy_stack", "console_url": "http://c.test/"}


def place(folder: Path, **changes: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stack.json").write_text(json.dumps(STACK | changes))


def found(env: dict[str, str], cwd: Path) -> tuple[str, str | None]:
    server = find(env=env, cwd=cwd)
    return server.url, server.api_key


def test_the_order(tmp_path: Path) -> None:
    inner = tmp_path / "project" / "deep" / "inside"
    inner.mkdir(parents=True)
    env = {"HOME": str(tmp_path / "home")}
    with pytest.raises(ConfigurationError, match="make run"):
        find(env=env, cwd=inner)
    write(config_path(env), url="http://config.test", api_key="jy_config")
    assert found(env, inner) == ("http://config.test", "jy_config")
    place(tmp_path / ".jobyard", gateway_url="http://127.0.0.1:2222")
    assert found(env, inner) == ("http://127.0.0.1:2222", "jy_stack")
    place(tmp_path / "project" / ".jobyard")
    assert found(env, inner) == ("http://127.0.0.1:1111", "jy_stack")
    place(tmp_path / "other", gateway_url="http://127.0.0.1:3333")
    env["JOBYARD_HOME"] = str(tmp_path / "other")
    assert found(env, inner) == ("http://127.0.0.1:3333", "jy_stack")
    env |= {"JOBYARD_URL": "http://env.test/", "JOBYARD_API_KEY": "jy_env"}
    assert found(env, inner) == ("http://env.test", "jy_env")


def test_a_key_of_a_file_goes_only_to_its_own_server(tmp_path: Path) -> None:
    place(tmp_path / ".jobyard")
    env = {"HOME": str(tmp_path), "JOBYARD_URL": "http://elsewhere.test"}
    assert found(env, tmp_path) == ("http://elsewhere.test", None)
    env["JOBYARD_URL"] = "http://127.0.0.1:1111/"
    assert found(env, tmp_path) == ("http://127.0.0.1:1111", "jy_stack")


def test_a_key_of_the_environment_with_the_stacks_address(tmp_path: Path) -> None:
    place(tmp_path / ".jobyard")
    assert found({"HOME": str(tmp_path), "JOBYARD_API_KEY": "jy_env"}, tmp_path) == ("http://127.0.0.1:1111", "jy_env")


def test_a_stack_file_of_another_user_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(tmp_path / ".jobyard")
    owner = (tmp_path / ".jobyard" / "stack.json").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 4711)
    if owner == 0:
        assert found({"HOME": str(tmp_path)}, tmp_path)[1] == "jy_stack", "root may start stacks for others"
    else:
        with pytest.raises(ConfigurationError):
            find(env={"HOME": str(tmp_path)}, cwd=tmp_path)


def test_the_key_is_not_shown(tmp_path: Path) -> None:
    place(tmp_path / ".jobyard")
    assert "jy_stack" not in repr(find(env={"HOME": str(tmp_path)}, cwd=tmp_path))


def test_the_config_is_for_its_user_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "config.toml"
    write(path, url='http://x.test/"\\', api_key="k")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["config.toml"]


def test_login_checks_and_stores(call: Any, fake: FakeYard, monkeypatch: pytest.MonkeyPatch) -> None:
    def key_on_stdin(key: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{key}\n"))

    key_on_stdin("jy_wrong")
    assert call("login", fake.url).code == 3
    assert call("status").code == 2
    key_on_stdin("")
    assert call("login", fake.url).code == 2
    assert call("login").code == 2
    key_on_stdin(fake.api_key)
    assert call("login", fake.url, "--json").document["url"] == fake.url
    assert call("status").code == 0


def test_open_shows_the_console(call: Any, own_place: Path) -> None:
    place(Path(".jobyard"))
    assert call("open").stdout == "http://c.test\n"
    assert call("open", "job_1", "--json").document == {"url": "http://c.test/jobs/job_1", "opened": False}
