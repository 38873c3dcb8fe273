"""test.tree.command, and how the process isolation starts the same children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

CHILD = Path(__file__).with_name("child.py")


def plant(
    *,
    marker: str,
    children: int,
    seconds: float,
    setsid: bool,
    double_fork: bool,
    ignore_sigterm: bool,
    hold_pipes: bool,
) -> list[int]:
    """Start the children and wait until each says that it runs; returns the processes started, which nobody ends."""
    traits = {"setsid": setsid, "double_fork": double_fork, "ignore_sigterm": ignore_sigterm}
    wanted = ",".join(name for name, on in traits.items() if on)
    output = None if hold_pipes else subprocess.DEVNULL
    told, tell = os.pipe()
    pids = []
    for _ in range(children):
        started = subprocess.Popen(
            [sys.executable, "-I", "-S", str(CHILD), marker, str(seconds), str(tell), wanted],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(tell,),
        )
        started.returncode = 0  # its end is not waited for here
        pids.append(started.pid)
    os.close(tell)
    running = 0
    while running < children:
        said = os.read(told, children)
        if not said:
            raise RuntimeError(f"only {running} of {children} children came up")
        running += len(said)
    os.close(told)
    return pids


def main() -> None:
    parameters = json.loads(Path("parameters.json").read_bytes())
    marker = parameters["marker"]
    if marker not in sys.argv:
        os.execv(sys.executable, [sys.executable, "-I", "-S", __file__, marker])  # noqa: S606
    children = int(parameters.get("children", 3))
    seconds = float(parameters.get("seconds", 60))
    plant(
        marker=marker,
        children=children,
        seconds=seconds,
        setsid=parameters.get("setsid", False),
        double_fork=parameters.get("double_fork", False),
        ignore_sigterm=parameters.get("ignore_sigterm", False),
        hold_pipes=parameters.get("hold_pipes", False),
    )
    os.write(1, b"ready\n")
    time.sleep(seconds)
    Path("result.json").write_text(json.dumps({"children": children}))


if __name__ == "__main__":
    main()
