"""`python -m jobyard_gateway [migrate | mint-key]`; without an argument it serves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import uvloop
from jobyard_common.runtime.entry import WrongUsage, enter

from jobyard_gateway.handlers.mint_key import mint_key
from jobyard_gateway.main import run_migrations, serve
from jobyard_gateway.settings import Settings


def main(arguments: Sequence[str]) -> int:
    return enter(
        arguments,
        usage=str(__doc__),
        settings=Settings,
        serve=serve,
        migrate=run_migrations,
        commands={"mint-key": _mint_key},
    )


def _mint_key(rest: Sequence[str], load: Callable[[], Settings]) -> int:
    if rest:
        raise WrongUsage
    print(uvloop.run(mint_key(load().postgres_dsn)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
