"""test.alloc.command, and the same work for the process isolation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

STEP_MIB = 16
MIB = 2**20
PAGE = 4096


def allocate(mebibytes: int, *, say: Callable[[str], None]) -> list[bytearray]:
    """Allocate and touch memory, saying `MiB N` after each step; the caller keeps it by keeping the list."""
    kept: list[bytearray] = []
    for done in range(0, mebibytes, STEP_MIB):
        size = min(STEP_MIB, mebibytes - done)
        block = bytearray(size * MIB)
        block[::PAGE] = b"\x01" * (size * MIB // PAGE)
        kept.append(block)
        say(f"MiB {done + size}")
    return kept


def main() -> None:
    parameters = json.loads(Path("parameters.json").read_bytes())
    mebibytes = int(parameters.get("mebibytes", 64))
    kept = allocate(mebibytes, say=lambda text: print(text, flush=True))
    time.sleep(parameters.get("hold_s", 0))
    kept.clear()
    Path("result.json").write_text(json.dumps({"mebibytes": mebibytes}))


if __name__ == "__main__":
    main()
