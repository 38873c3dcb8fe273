"""What goes into the environment in which a member is tested alone."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(DEPLOY))
    spec = importlib.util.spec_from_file_location("isolated", DEPLOY / "isolated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "isolated", module)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("bootstrap", None)


def project(folder: Path, name: str, needs: list[str], test: list[str] | None = None) -> Path:
    folder.mkdir()
    text = f'[project]\nname = "{name}"\ndependencies = {needs}\n[dependency-groups]\ntest = {test or []}\n'
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_only_what_follows_from_the_declarations_goes_in(isolated: ModuleType, tmp_path: Path) -> None:
    base = project(tmp_path / "base", "base", ["httpx"], test=["jsonschema"])
    top = project(tmp_path / "top", "top", ["base", "redis[hiredis]"])
    known = isolated.workspace([base, top, project(tmp_path / "other", "other", ["duckdb"])])
    found = isolated.contents(known["top"], known)
    assert found.members == {"top", "base"}
    assert {"httpx", "httpcore", "redis", "hiredis", "pytest", "hypothesis"} <= found.packages
    assert found.packages.isdisjoint({"duckdb", "jsonschema", "aiokafka"}), "of others, or for the tests of another"
    assert "jsonschema" in isolated.contents(known["base"], known).packages
    assert "hiredis" not in isolated.contents(known["base"], known).packages


def test_a_declared_package_that_nobody_locked_is_one_sentence(isolated: ModuleType, tmp_path: Path) -> None:
    known = isolated.workspace([project(tmp_path / "one", "one", ["jobyard-no-such-package"])])
    with pytest.raises(sys.modules["bootstrap"].Failed, match=r"jobyard-no-such-package .*run make lock"):
        isolated.contents(known["one"], known)


def test_pins_keep_their_checksums_and_markers(isolated: ModuleType) -> None:
    lock = (
        "# head\nA.b==1 ; python_version < '3.12' \\\n    --hash=sha256:00\n"
        "a-b==2 ; python_version >= '3.12' \\\n    --hash=sha256:11\nc==3 \\\n    --hash=sha256:22\n"
    )
    found = isolated.pins(lock)
    assert set(found) == {"a-b", "c"}
    assert found["a-b"].count("==") == 2
    assert "--hash=sha256:00" in found["a-b"]
    assert "--hash=sha256:11" in found["a-b"]
    assert found["c"] == "c==3 \\\n    --hash=sha256:22\n"


def test_the_real_workspace_is_read(isolated: ModuleType) -> None:
    known = isolated.workspace(sys.modules["bootstrap"].members())
    sdk = isolated.contents(known["jobyard"], known)
    assert sdk.members == {"jobyard"}
    assert "aiokafka" not in sdk.packages
