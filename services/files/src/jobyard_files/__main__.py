"""`python -m jobyard_files` serves; `python -m jobyard_files migrate` brings the schema to head and ends."""

from __future__ import annotations

import sys

from jobyard_common.settings import SettingsInvalid, load_settings

from jobyard_files.main import run_migrations, serve
from jobyard_files.settings import Settings


def main() -> int:
    settings = load_settings(Settings)
    if sys.argv[1:] == ["migrate"]:
        run_migrations(settings)
        return 0
    if sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    import uvloop

    try:
        return uvloop.run(serve(settings))
    except SettingsInvalid as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
