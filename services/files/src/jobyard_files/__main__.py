"""`python -m jobyard_files` serves; `python -m jobyard_files migrate` brings the schema to head and ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobyard_common.runtime.entry import enter

from jobyard_files.main import run_migrations, serve
from jobyard_files.settings import Settings


def main(arguments: Sequence[str]) -> int:
    return enter(arguments, usage=str(__doc__), settings=Settings, serve=serve, migrate=run_migrations)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
