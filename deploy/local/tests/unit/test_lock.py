"""The lock check finds what it is for."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def check_lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_lock", ROOT / "deploy" / "check_lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_lock_holds(check_lock: ModuleType) -> None:
    assert check_lock.problems(ROOT, (ROOT / "requirements.lock").read_text()) == []


def test_missing_old_and_addressed_are_found(check_lock: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["a"]\n')
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "pyproject.toml").write_text(
        '[project]\nname = "a"\ndependencies = ["b>=2", "c", "a"]\n[project.optional-dependencies]\nx = ["d<1"]\n'
    )
    lock = "b==1.9 \\\n    --hash=sha256:00\nd==0.5\n--index-url https://example.invalid/\n"
    assert check_lock.problems(tmp_path, lock) == [
        "a needs b>=2, the lock has 1.9",
        "a needs c, the lock has no c",
        "the lock names an address",
        "the lock holds an option for the installer",
    ]
