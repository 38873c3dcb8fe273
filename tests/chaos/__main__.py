"""`python -m tests.chaos [--minutes 10] [--seed N] [--keep FOLDER]`."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.report import HEAD
from tests.chaos.run import chaos


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Break everything, lose nothing.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", type=Path, default=None, help="folder for logs and journal, kept afterwards")
    given = parser.parse_args()
    seed = secrets.randbelow(100_000) if given.seed is None else given.seed
    home = given.keep or Path(tempfile.mkdtemp(prefix="jobyard-chaos-"))
    print(f"seed {seed}, everything below {home}", flush=True)
    verdict = asyncio.run(chaos(home.resolve(), minutes=given.minutes, seed=seed))
    print("ends:", ", ".join(f"{count} {how}" for how, count in sorted(verdict.report.ends.items())))
    for breach in verdict.breaches[:50]:
        print(breach, file=sys.stderr)
    print(HEAD, "|" + "---|" * HEAD.count(" | ") + "---|", verdict.report.row(), sep="\n")
    if not verdict.breaches and given.keep is None:
        shutil.rmtree(home, ignore_errors=True)
    return 1 if verdict.breaches else 0


if __name__ == "__main__":
    raise SystemExit(main())
