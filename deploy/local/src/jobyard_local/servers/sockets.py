"""Folders for unix sockets: below the home where the path is short enough, else private and short."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path

from jobyard_local.errors import StackError

LONGEST_PATH = 107
LONGEST_NAME = len("/.s.PGSQL.5432")


def socket_folder(home: Path) -> Path:
    """A folder that only this user may enter, whose socket paths fit the kernel's limit."""
    own = home / "run"
    if len(os.fsencode(own)) + LONGEST_NAME <= LONGEST_PATH:
        return private_folder(own)
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return private_folder(Path(f"/tmp/jobyard-{os.geteuid()}-{digest}"))  # noqa: S108  (checked below)


def forget_sockets(folder: Path, *, home: Path) -> None:
    """Leave nothing outside the home once the servers have ended."""
    if home not in folder.parents:
        with contextlib.suppress(OSError):
            folder.rmdir()


def private_folder(path: Path) -> Path:
    """Make it with mode 0700; refuses a link or a folder of somebody else."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise StackError(f"{path} belongs to somebody else; remove it or choose another JOBYARD_HOME")
    path.chmod(0o700)
    return path
