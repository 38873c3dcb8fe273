"""test.cpu.command, and the same work for the process isolation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path


def burn(seconds: float, *, between: Callable[[], None] = lambda: None) -> float:
    """Compute for `seconds` of wall time, calling `between` about every 10 ms; returns the seconds of CPU used."""
    began, before = time.monotonic(), time.process_time()
    while time.monotonic() - began < seconds:
        sum(range(200_000))
        between()
    return time.process_time() - before


def main() -> None:
    parameters = json.loads(Path("parameters.json").read_bytes())
    Path("result.json").write_text(json.dumps({"cpu_s": burn(parameters.get("seconds", 1))}))


if __name__ == "__main__":
    main()
