"""From the `argv` of a tool.toml to what is really executed.

The first element is `{python}` (the interpreter that runs Jobyard), an absolute path, a name on the fixed search path,
or a path inside the tool's folder (`./run`). Any element may begin with `{folder}/`. Whatever a path in the tool's
folder leads to must stay in it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
PYTHON = "{python}"
FOLDER = "{folder}"
MOST = 64
LONGEST = 4096


class ArgvInvalid(Exception):
    """An argv that cannot be run; `index` is the element that is wrong."""

    def __init__(self, index: int | None, message: str) -> None:
        super().__init__(message)
        self.index = index


def resolve(argv: Sequence[str], *, folder: Path) -> tuple[str, ...]:
    """The argv to execute, its first element an absolute path. Raises ArgvInvalid."""
    if not 1 <= len(argv) <= MOST:
        raise ArgvInvalid(None, f"must have 1 to {MOST} elements")
    home = folder.resolve()
    for index, argument in enumerate(argv):
        _plausible(index, argument)
    arguments = [_program(argv[0], home)]
    for index, argument in enumerate(argv[1:], start=1):
        arguments.append(_in_folder(index, argument, home))
    return tuple(arguments)


def _plausible(index: int, argument: str) -> None:
    if len(argument.encode()) > LONGEST:
        raise ArgvInvalid(index, f"has more than {LONGEST:,} bytes")
    if "\x00" in argument:
        raise ArgvInvalid(index, "holds a NUL character")
    if ".." in argument.split("/"):
        raise ArgvInvalid(index, f"{argument!r} leaves the tool's folder")


def _program(program: str, home: Path) -> str:
    if not program:
        raise ArgvInvalid(0, "is empty; it names the program to run")
    if program == PYTHON:
        return sys.executable
    if program.startswith(FOLDER + "/") or ("/" in program and not program.startswith("/")):
        path = _inside(0, program.removeprefix(FOLDER + "/"), home)
    elif program.startswith("/"):
        path = program
    else:
        found = shutil.which(program, path=SEARCH_PATH)
        if found is None:
            raise ArgvInvalid(0, f"the program {program!r} is not installed (looked in {SEARCH_PATH})")
        path = found
    if not Path(path).is_file() or not os.access(path, os.X_OK):
        raise ArgvInvalid(0, f"{program!r} is not an executable file")
    return path


def _in_folder(index: int, argument: str, home: Path) -> str:
    if argument == FOLDER:
        return str(home)
    if argument.startswith(FOLDER + "/"):
        return _inside(index, argument.removeprefix(FOLDER + "/"), home)
    return argument


def _inside(index: int, relative: str, home: Path) -> str:
    path = (home / relative.removeprefix("/")).resolve()
    if not path.is_relative_to(home):
        raise ArgvInvalid(index, f"{relative!r} leads out of the tool's folder")
    if not path.exists():
        raise ArgvInvalid(index, f"there is no {relative!r} in the tool's folder")
    return str(path)
