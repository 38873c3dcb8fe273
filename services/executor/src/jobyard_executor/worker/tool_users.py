"""The users that a command slot lends to its attempts, one each, where the executor is root."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from jobyard_executor.sandbox import jail, reach, users
from jobyard_executor.sandbox.users import Lease, NoUsers, User
from jobyard_executor.worker.settings import WorkerSettings


class ToolUsers:
    """Leases its block when the first attempt needs a user. `refusal` says why there is none."""

    def __init__(self, settings: WorkerSettings, folders: Iterable[Path]) -> None:
        self._settings = settings
        self._folders = [str(folder) for folder in folders]
        self._lease: Lease | None = None
        self.refusal: str | None = None

    def lend(self) -> User | None:
        """A user for one attempt, None: it runs as this process's user."""
        if self._lease is None and self.refusal is None:
            try:
                self._lease = users.lease(*self._settings.user_ids)
                self._open_ways()
            except NoUsers as error:
                self.refusal = str(error)
        return self._lease.next() if self._lease is not None else None

    def _open_ways(self) -> None:
        """Only this one process comes to see the opened folders. What stays shut, each spawn finds out for its tool."""
        root = self._settings.work_root
        with suppress(OSError):
            Path(root).chmod(0o711)
            reach.open_up([root, *jail.interpreter(), *self._folders, *filter(os.path.isdir, sys.path)])


def hand_over(uid: int, work_dir: str, pipes: Mapping[str, int]) -> None:
    """Give a user its work dir, and its ends of the pipes: /dev/stdout and its like open only for their owner."""
    users.give(work_dir, uid)
    for descriptor in pipes.values():
        os.fchown(descriptor, uid, uid)


def end_all(user: User | None) -> None:
    """Kill whatever runs as that user. A refusal leaves it to who kills one process after the other."""
    if user is not None:
        with suppress(OSError):
            users.kill_all(user)
