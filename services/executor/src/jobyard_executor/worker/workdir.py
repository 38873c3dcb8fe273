"""The folder of one attempt, made only when something needs it: `in/<slot>`, `out/`, `parameters.json`."""

# Paths: raw names that tools chose, on a hot path.
# ruff: noqa: PTH100, PTH101, PTH118, PTH123

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from jobyard.author.errors import BadParameters
from jobyard_common.contracts.jobs import MAX_FILED_PARAMETERS_BYTES, PARAMETERS_SLOT


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

    def parameters(self, sent: bytes) -> bytes:
        """The job's parameters: `sent` with it, or from the file that was staged because they are large.

        Raises BadParameters.
        """
        if not self.exists:
            return sent
        try:
            with open(f"{self.path}/in/{PARAMETERS_SLOT}", "rb") as file:
                text = file.read(MAX_FILED_PARAMETERS_BYTES + 1)
        except FileNotFoundError:
            return sent
        if len(text) > MAX_FILED_PARAMETERS_BYTES:
            raise BadParameters(f"The file with the parameters has more than {MAX_FILED_PARAMETERS_BYTES:,} bytes.")
        return text

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
    """Delete a folder that a tool wrote, whatever modes it left and however deep or wide it is, following no link.

    Sub-folders are moved up before they are emptied, so no path grows long, and nothing is listed in memory: a million
    files cost time, but no space. What cannot be deleted stays for the clean-up at the next start.
    """
    top = os.path.abspath(path)
    names = (f"{top}/.{secrets.token_hex(8)}-{number}" for number in count())
    headway = True
    while headway:
        headway = False
        for entry in _entries(top):
            if entry.is_dir(follow_symlinks=False):
                headway |= _cleared(entry.path, names)
            else:
                headway |= _done(os.unlink, entry.path)
    _done(os.rmdir, top)


def _cleared(folder: str, names: Iterator[str]) -> bool:
    """Delete the files of a folder, move its folders to `names`, then delete it; whether any of that went well."""
    headway = False
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            _done(os.chmod, entry.path, 0o700)
            headway |= _done(os.rename, entry.path, next(names))
        else:
            headway |= _done(os.unlink, entry.path)
    return _done(os.rmdir, folder) or headway


def _done(act: Callable[..., None], *arguments: object) -> bool:
    try:
        act(*arguments)
    except OSError:
        return False
    return True


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        os.chmod(folder, 0o700)
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return
