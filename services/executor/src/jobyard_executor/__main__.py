"""`python -m jobyard_executor` serves; `… migrate` brings the schema to head and ends; `… recover` is for disasters."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobyard_common.runtime.entry import enter

from jobyard_executor.main import run_migrations, run_recovery, serve
from jobyard_executor.settings import Settings


def main(arguments: Sequence[str]) -> int:
    return enter(
        arguments,
        usage=str(__doc__),
        settings=Settings,
        serve=serve,
        migrate=run_migrations,
        commands={"recover": lambda rest, load: run_recovery(load(), rest)},
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
