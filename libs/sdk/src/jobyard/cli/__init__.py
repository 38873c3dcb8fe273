"""The command `jobyard`.

`entry` is what the shell starts. It imports everything else late, so that Ctrl-C during start-up and `--help` are as
quiet and quick as can be. Import rule: command modules load typer and the standard library only; the client and rich
come in when a command needs them.
"""

from __future__ import annotations

import sys


def entry() -> None:
    """Run the command line and leave with its exit code."""
    # httpx would load a command line of its own, with rich and pygments: 150 ms for nothing
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    try:
        from jobyard.cli.main import main

        code = main()
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
