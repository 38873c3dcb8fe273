"""Which locked packages have no wheel for a platform: `python deploy/check_wheels.py`, asks the package registry.

An installation from wheels needs no compiler. `NO_WHEEL` is what we know and accept; anything else is a failure.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import bootstrap
from isolated import pins

PLATFORMS = (
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "aarch64-apple-darwin",
    "x86_64-apple-darwin",
)
PYTHONS = ("3.11", "3.13")
NO_WHEEL = {("x86_64-apple-darwin", "lazy-object-proxy")}
"""The OpenAPI validator of the tests needs it; its source builds with any C compiler."""


def without_wheel(locked: Mapping[str, str], *, platform: str, python: str, installer: Path) -> list[str]:
    """Names of the packages that the installer could only build; it tells one a run. Raises `bootstrap.Failed`."""
    left, found = dict(locked), []
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "wanted.txt")
        place = ["--target", Path(folder, "none"), "--python", sys.executable]
        target = ["--python-platform", platform, "--python-version", python, "--only-binary", ":all:"]
        command = [installer, "pip", "install", "--dry-run", "--quiet", "--no-deps", "--require-hashes"]
        while True:
            wanted.write_text("".join(left.values()))
            words = [str(part) for part in (*command, *place, *target, "--requirements", wanted)]
            done = subprocess.run(words, env=bootstrap.environment(), capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return found
            told = re.search(r"([A-Za-z0-9._-]+)==\S+\s+has\s+no\s+(usable )?wheels", done.stderr)
            if told is None or told[1] not in left:
                raise bootstrap.Failed(f"{platform}, Python {python}: {done.stderr.strip()}")
            found.append(told[1])
            del left[told[1]]


def main() -> int:
    locked, unknown = pins((bootstrap.ROOT / "requirements.lock").read_text()), 0
    try:
        installer = bootstrap.ensure_installer(print)
        for platform in PLATFORMS:
            for python in PYTHONS:
                missing = without_wheel(locked, platform=platform, python=python, installer=installer)
                print(f"{platform}, Python {python}: {', '.join(missing) or 'a wheel for every package'}", flush=True)
                unknown += sum((platform, name) not in NO_WHEEL for name in missing)
    except bootstrap.Failed as error:
        print(f"jobyard: {error}", file=sys.stderr)
        return 1
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
