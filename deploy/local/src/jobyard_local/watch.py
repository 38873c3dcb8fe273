"""Ends what a killed launcher left: `watch.py MARK`, started by it with a pipe as standard input.

Most processes die with the launcher by the kernel's parent-death signal. Those that their parents started (a tool's
tree) have another parent; they carry the launch mark in their environment. The pipe ends when the launcher does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

GRACE_S = 0.5
PATIENCE_S = 4.0


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    needle = f"JOBYARD_LAUNCH={sys.argv[1]}\0".encode()
    while os.read(0, 1024):
        pass
    time.sleep(GRACE_S)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        left = marked(needle)
        if not left:
            return 0
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    return 1


def marked(needle: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if needle in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    sys.exit(main())
