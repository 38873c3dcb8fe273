"""`python -m jobyard_monitor [migrate | rebuild [TOPIC…]]`; without an argument, serve."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import uvloop
from jobyard_common.runtime.entry import WrongUsage, enter

from jobyard_monitor.handlers.rebuild import UnknownTopic, chosen
from jobyard_monitor.main import run_migrations, run_rebuild, serve
from jobyard_monitor.settings import Settings


def main(arguments: Sequence[str]) -> int:
    return enter(
        arguments,
        usage=str(__doc__),
        settings=Settings,
        serve=serve,
        migrate=run_migrations,
        commands={"rebuild": _rebuild},
    )


def _rebuild(names: Sequence[str], load: Callable[[], Settings]) -> int:
    try:
        topics = chosen(list(names))
    except UnknownTopic as error:
        raise WrongUsage(str(error)) from None
    uvloop.run(run_rebuild(load(), names=topics))
    print(f"Rebuilding from {', '.join(topics)}, as far back as the topics remember.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
