"""`python -m jobyard_local run|demo|stop`, and `db` and `topics` for a stack that runs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from jobyard_local.console import Console
from jobyard_local.errors import StackError


def main(arguments: list[str]) -> int:
    """`JOBYARD_HOME` (default `.jobyard` in the working folder) says where; returns the exit code."""
    # until the stack's own handlers are there, Ctrl-C just ends the program
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from jobyard_local import operating, running

    console = Console()
    home = Path(os.environ.get("JOBYARD_HOME") or ".jobyard").absolute()
    try:
        match arguments:
            case ["run"]:
                return asyncio.run(running.run(home, console=console, port=running.wanted_port()))
            case ["demo"]:
                return asyncio.run(running.demo(home.with_name(f"{home.name}-demo"), console=console))
            case ["stop"]:
                return running.stop(home, console=console)
            case ["db" | "topics" as what, action]:
                return operating.operate(home, what, action=action, console=console)
    except StackError as error:
        console.error(str(error))
        return 1
    print("usage: python -m jobyard_local run|demo|stop|db migrate|db shell|topics list|topics create", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
