"""shell.run: become the program that the parameters name, so that signals and exit codes are its own."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

NOT_FOUND = 127
NOT_EXECUTABLE = 126


def main() -> None:
    parameters = json.loads(Path("parameters.json").read_bytes())
    argv = parameters.get("argv") or ["/bin/sh", "-eu", "-c", parameters["script"]]
    with tempfile.TemporaryFile() as standard_input:
        standard_input.write(parameters.get("stdin", "").encode())
        standard_input.seek(0)
        os.dup2(standard_input.fileno(), 0)
    become(argv, {**os.environ, **parameters.get("env", {})})


def become(argv: list[str], environment: dict[str, str]) -> NoReturn:
    try:
        os.execvpe(argv[0], argv, environment)  # noqa: S606
    except (FileNotFoundError, NotADirectoryError):
        refuse("program_missing", f"There is no program {argv[0]!r} here.", NOT_FOUND)
    except ValueError as error:
        refuse("bad_argument", f"The command cannot be run: {error}.", NOT_EXECUTABLE)
    except OSError as error:
        refuse("program_refused", f"{argv[0]!r} cannot be run: {error.strerror}.", NOT_EXECUTABLE)


def refuse(code: str, message: str, status: int) -> NoReturn:
    error = {"error": {"code": code, "message": message, "retryable": False}}
    os.write(int(os.environ["JOBYARD_CHANNEL_FD"]), json.dumps(error).encode() + b"\n")
    os.write(2, message.encode() + b"\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
