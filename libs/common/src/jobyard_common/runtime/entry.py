"""`python -m jobyard_<service>`: without an argument it serves; `migrate` and the service's own commands end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from jobyard_common.settings import CommonSettings, SettingsInvalid, load_settings

S = TypeVar("S", bound=CommonSettings)
Command = Callable[[Sequence[str], Callable[[], S]], int]


class WrongUsage(Exception):
    """The arguments of a command make no sense; the text says why, or is empty."""


def enter(
    arguments: Sequence[str],
    *,
    usage: str,
    settings: type[S],
    serve: Callable[[S], Coroutine[Any, Any, int]],
    migrate: Callable[[S], None],
    commands: Mapping[str, Command[S]] | None = None,
) -> int:
    """Exit codes: 0 done, 1 failed, 2 wrong usage or settings.

    `commands` are called with what stands behind their name, and load the settings once they know what it means.
    """
    # Whoever asks a process that still starts what it waits for must not kill it; `run_service` listens later.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", ())
    command = (commands or {}).get(name)

    def load() -> S:
        return load_settings(settings)

    try:
        if not arguments:
            import uvloop

            return uvloop.run(serve(load()))
        if name == "migrate" and not rest:
            migrate(load())
            return 0
        if command is not None:
            return command(rest, load)
        raise WrongUsage
    except SettingsInvalid as error:
        print(error, file=sys.stderr)
    except WrongUsage as error:
        print(str(error) or usage, file=sys.stderr)
    return 2
