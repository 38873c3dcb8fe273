"""test.print.command, and the lines that the other isolations print too."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

RUBBISH = b' \x00 \x1b[31mred\x1b[0m \xff {"level":"error","event":"fake","message":"not a log line"}'


def content(number: int, *, width: int, rubbish: bool) -> bytes:
    """Line `number`, without its end."""
    line = b"line %d" % number + (RUBBISH if rubbish else b"")
    return line.ljust(width, b"x")


def stream_of(number: int, stream: str) -> int:
    """The file descriptor that line `number` goes to."""
    if stream == "both":
        return 1 if number % 2 else 2
    return 1 if stream == "stdout" else 2


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def main() -> None:
    parameters = json.loads(Path("parameters.json").read_bytes())
    lines = int(parameters.get("lines", 10))
    interval_s = parameters.get("interval_s", 0)
    end = b"\n" if parameters.get("newline", True) else b""
    for number in range(1, lines + 1):
        line = content(number, width=int(parameters.get("width", 0)), rubbish=parameters.get("rubbish", False))
        write_all(stream_of(number, parameters.get("stream", "stdout")), line + end)
        if interval_s:
            time.sleep(interval_s)
    Path("result.json").write_text(json.dumps({"lines": lines}))


if __name__ == "__main__":
    main()
