"""The data folder of a stack: its lock, its secrets, and what it tells others about itself.

| in it | is |
|---|---|
| stack.json | the running stack, for others (mode 0600); there only while it is ready |
| processes.json | every process of the running launch with its start time, from the first one on |
| launcher.lock | locked by the launcher that uses this folder |
| service-token, api-key.json | secrets (0600), made once |
| ports.json | the services' ports, used again where they are free |
| logs/ | one log per process, and launcher.log |
| kafka/, postgres/, valkey/, executor/, files/, … | data |
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from jobyard_local.errors import HomeBusy, StackError
from jobyard_local.process import Identity

LARGEST_LOG = 20 * 2**20


class Home:
    """One data folder. Nothing is written before `acquire`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.stack_file = self.path / "stack.json"
        self.processes_file = self.path / "processes.json"
        self._lock: IO[str] | None = None

    def acquire(self) -> None:
        """Take the folder for this launcher; raises `HomeBusy`, or `StackError` where it cannot be made."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
            lock = (self.path / "launcher.lock").open("a+")
        except OSError as error:
            raise StackError(
                f"{self.path} cannot be used ({error.strerror}); set JOBYARD_HOME to a folder of yours"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise HomeBusy(
                f"{self.path} is in use by process {owner}; `make stop` ends it, or set JOBYARD_HOME to another folder"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > LARGEST_LOG:
                log.replace(log.with_suffix(".log.1"))

    @property
    def held(self) -> bool:
        """Whether this launcher has the folder."""
        return self._lock is not None

    def release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def service_token_file(self) -> Path:
        """The secret that services show each other, made once."""
        path = self.path / "service-token"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path

    def api_key(self) -> str | None:
        """The first API key, if it was minted already."""
        try:
            key = json.loads((self.path / "api-key.json").read_text())["key"]
        except (OSError, ValueError, KeyError):
            return None
        return key if isinstance(key, str) else None

    def keep_api_key(self, minted: Mapping[str, Any]) -> None:
        write_private(self.path / "api-key.json", json.dumps(dict(minted)))

    def ports(self) -> dict[str, int]:
        try:
            return {str(name): int(port) for name, port in json.loads((self.path / "ports.json").read_text()).items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def keep_ports(self, ports: Mapping[str, int]) -> None:
        write_private(self.path / "ports.json", json.dumps(dict(ports)))

    def left_running(self) -> dict[str, Identity]:
        """What the last launch says it started, by name; some may live no more."""
        found: dict[str, Identity] = {}
        for path in (self.stack_file, self.processes_file):
            try:
                told = json.loads(path.read_text())
                found |= {str(name): Identity(int(pid), int(at)) for name, (pid, at) in told["identities"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
        return found

    def forget_running(self) -> None:
        self.stack_file.unlink(missing_ok=True)
        self.processes_file.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Replace the file at once, readable by its owner only."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
