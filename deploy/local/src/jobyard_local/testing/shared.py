"""One set of servers for all processes of a test run, with nobody in charge of it.

Each process holds a shared lock on `holders` as long as it lives; a keeper process owns the servers, tries once a
second to lock that file alone, and ends with the servers when it can: the kernel counts the holders, and a kill is
no exception. `start.lock` makes starting and ending exclude each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO

from jobyard_local.errors import ServerFailed, StackError
from jobyard_local.process import Identity, log_tail, started_at
from jobyard_local.servers.set import Addresses, ServerSet

START_TIMEOUT_S = 180.0
FOR_TESTS = "fsync = off\nfull_page_writes = off\nmax_connections = 200\n"


class Holder:
    """This process's share of the set."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: IO[str] | None = None

    def acquire(self) -> Addresses:
        """Use the running set or start one; raises `ServerFailed`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._held = (self._folder / "holders").open("w")
            fcntl.flock(self._held, fcntl.LOCK_SH)
            return _running(self._folder) or _launch(self._folder)

    def release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


def _running(folder: Path) -> Addresses | None:
    with contextlib.suppress(OSError, ValueError, KeyError):
        told = json.loads((folder / "servers.json").read_text())
        if Identity(*told.pop("keeper")).alive():
            return Addresses(**told)
    return None


def _launch(folder: Path) -> Addresses:
    (folder / "servers.json").unlink(missing_ok=True)
    log = folder / "keeper.log"
    with log.open("ab") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "jobyard_local.testing.shared", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        found = _running(folder)
        if found is not None:
            # it outlives this process on purpose; the interpreter shall not complain about that
            keeper.returncode = 0
            return found
        if keeper.poll() is not None:
            raise ServerFailed(f"the test servers did not start; {log} ends:\n{log_tail(log)}")
        time.sleep(0.05)
    raise ServerFailed(f"the test servers were not ready within {START_TIMEOUT_S:g} s; {log} ends:\n{log_tail(log)}")


async def keep(folder: Path) -> None:
    """The keeper's life."""
    servers = ServerSet(folder, say=lambda text: print(text, flush=True), postgres_settings=FOR_TESTS)
    addresses = await servers.start()
    identity = [os.getpid(), started_at(os.getpid())]
    partial = folder / "servers.json.partial"
    partial.write_text(json.dumps(asdict(addresses) | {"keeper": identity}))
    partial.replace(folder / "servers.json")
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    while not asked.is_set() and not _abandoned(folder):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asked.wait()
    await servers.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    """Whether nobody holds the set; then no new holder finds it any more."""
    with (folder / "holders").open("w") as holders, (folder / "start.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(holders, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        (folder / "servers.json").unlink(missing_ok=True)
        return True


def main() -> int:
    try:
        asyncio.run(keep(Path(sys.argv[1])))
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
