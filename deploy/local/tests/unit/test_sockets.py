"""Socket folders: short enough for the kernel, and nobody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from jobyard_local.errors import StackError
from jobyard_local.servers.sockets import LONGEST_NAME, LONGEST_PATH, private_folder, socket_folder


def test_a_long_home_gets_a_short_private_folder(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 100)
    folder = socket_folder(home)
    try:
        assert len(os.fsencode(folder)) + LONGEST_NAME <= LONGEST_PATH
        assert folder == socket_folder(home)
        assert folder != socket_folder(tmp_path / ("y" * 100))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        folder.rmdir()
        socket_folder(tmp_path / ("y" * 100)).rmdir()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StackError, match="belongs to somebody else"):
        private_folder(tmp_path / "link")


def test_a_mode_too_open_is_tightened(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    assert stat.S_IMODE(private_folder(tmp_path / "open").stat().st_mode) == 0o700
