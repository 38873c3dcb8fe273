"""The first step on a machine that lacks something: one sentence that says what to do."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "bootstrap.py"
DEBIAN = """\
The virtual environment was not created successfully because ensurepip is not
available.  On Debian/Ubuntu systems, you need to install the python3-venv
package using the following command.

    apt install python3.11-venv

Failing command: /usr/bin/python3
"""


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap_under_test", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "TOOLS", tmp_path / "tools")
    monkeypatch.setattr(module, "VENV", tmp_path / "venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / "venv" / "stamp")
    return module


def interpreter(folder: Path, *, says: str, code: int) -> Path:
    path = folder / "python3"
    (folder / "said").write_text(says)
    path.write_text(f"#!/bin/sh\ncat '{folder}/said'\nexit {code}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("says", [DEBIAN, "/usr/bin/python3: No module named venv\n"])
def test_a_python_that_makes_no_environments_is_told_how_it_can(
    bootstrap: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    says: str,
) -> None:
    monkeypatch.setattr(sys, "executable", str(interpreter(tmp_path, says=says, code=1)))
    assert bootstrap.main() == 1
    told = capsys.readouterr().err
    assert told.startswith("jobyard: python3 -m venv does not work here; install it (Debian, Ubuntu: apt install ")
    assert told.count("\n") == 1
    assert not bootstrap.STAMP.exists()


def test_an_old_python_is_told_which_one_is_wanted(tmp_path: Path) -> None:
    """Real process: the file must be readable by Pythons that we do not support."""
    patched = f"import sys, runpy; sys.version_info = (3, 9, 1); runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", patched], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Python 3.9 is too old; install Python 3.11 or later" in done.stderr
    assert "Traceback" not in done.stderr
