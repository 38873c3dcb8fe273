"""test.files.command, and the same files for the process isolation."""

from __future__ import annotations

import hashlib
import json
from itertools import count
from pathlib import Path

BLOCK = 32


def file_name(number: int) -> str:
    return f"file-{number:06d}.bin"


def write_file(path: Path, *, seed: int, number: int, size: int) -> None:
    """The first `size` bytes of SHA-256(seed:number:0) ‖ SHA-256(seed:number:1) ‖ …"""
    prefix = hashlib.sha256(f"{seed}:{number}:".encode())
    with path.open("wb") as file:
        for block in count():
            if size <= 0:
                return
            digest = prefix.copy()
            digest.update(str(block).encode())
            file.write(digest.digest()[:size])
            size -= BLOCK


def main() -> None:
    parameters = json.loads(Path("parameters.json").read_bytes())
    files = int(parameters.get("count", 1))
    for number in range(1, files + 1):
        path = Path("out") / file_name(number)
        write_file(path, seed=int(parameters.get("seed", 0)), number=number, size=int(parameters.get("bytes", 1000)))
    Path("result.json").write_text(json.dumps({"files": files}))


if __name__ == "__main__":
    main()
