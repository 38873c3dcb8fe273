"""`python -m jobyard_monitor [migrate | rebuild [TOPIC…]]`; without an argument, serve."""

from __future__ import annotations

import sys

import uvloop
from jobyard_common.settings import SettingsInvalid, load_settings

from jobyard_monitor.handlers.rebuild import UnknownTopic, chosen
from jobyard_monitor.main import run_migrations, run_rebuild, serve
from jobyard_monitor.settings import Settings


def main(arguments: list[str]) -> int:
    """Exit codes: 0 done, 1 failed, 2 wrong usage or settings."""
    match arguments:
        case []:
            try:
                return uvloop.run(serve(load_settings(Settings)))
            except SettingsInvalid as error:
                print(error, file=sys.stderr)
                return 2
        case ["migrate"]:
            run_migrations(load_settings(Settings))
            return 0
        case ["rebuild", *names]:
            return _rebuild(names)
    print(__doc__, file=sys.stderr)
    return 2


def _rebuild(names: list[str]) -> int:
    try:
        topics = chosen(names)
    except UnknownTopic as error:
        print(error, file=sys.stderr)
        return 2
    uvloop.run(run_rebuild(load_settings(Settings), names=topics))
    print(f"Rebuilding from {', '.join(topics)}, as far back as the topics remember.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
