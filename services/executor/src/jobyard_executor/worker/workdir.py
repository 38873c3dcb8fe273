"""The folder of one attempt, made only when something needs it: `in/<slot>`, `out/`, `parameters.json`."""

# Paths: raw names that tools chose, on a hot path.
# ruff: noqa: PTH100, PTH101, PTH104, PTH106, PTH108, PTH118

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


class WorkDir:
    """Paths inside the folder of one attempt. `staged` = the control process has made it and put the inputs there."""

    __slots__ = ("exists", "outputs", "path")

    def __init__(self, path: str, *, staged: bool) -> None:
        self.path = path
        self.exists = staged
        self.outputs = False

    def make(self) -> None:
        if not self.exists:
            Path(self.path).mkdir(mode=0o700, parents=True, exist_ok=True)
            self.exists = True

    def input_path(self, slot: str) -> Path:
        """Raises KeyError when the job has no such file."""
        path = Path(self.path, "in", slot)
        if not self.exists or "/" in slot or slot in ("", ".", "..") or not path.is_file():
            raise KeyError(slot)
        return path

    def output_path(self, name: str) -> Path:
        self.make()
        folder = Path(self.path, "out")
        if not self.outputs:
            folder.mkdir(mode=0o700, exist_ok=True)
            self.outputs = True
        return folder / name

    def has_outputs(self) -> bool:
        """Whether anything lies in `out/`; a folder that a tool made unreadable or swapped counts as yes."""
        if not self.exists:
            return False
        try:
            with os.scandir(os.path.join(self.path, "out")) as entries:
                return any(True for _ in entries)
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def remove(self) -> None:
        """Delete the folder; whatever modes the tool left, without following links."""
        if self.exists:
            remove_tree(self.path)
            self.exists = False


def remove_tree(path: str) -> None:
    """Delete a folder that a tool wrote, whatever modes it left and however deep it nested, following no link.

    Sub-folders are moved up before they are emptied, so no path grows long. What cannot be deleted stays for the
    clean-up at the next start.
    """
    top = os.path.abspath(path)
    emptied: list[str] = []
    waiting = [top]
    prefix = f".{secrets.token_hex(8)}-"
    moved = 0
    while waiting:
        folder = waiting.pop()
        for entry in _entries(folder):
            if not entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    os.unlink(entry.path)
                continue
            place = entry.path
            if folder != top:
                moved += 1
                place = f"{top}/{prefix}{moved}"
                with suppress(OSError):
                    os.chmod(entry.path, 0o700)
                    os.rename(entry.path, place)
            waiting.append(place)
        emptied.append(folder)
    for folder in reversed(emptied):
        with suppress(OSError):
            os.rmdir(folder)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        os.chmod(folder, 0o700)
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
