"""Writes the two locks: `python deploy/lock.py`, by `make lock`.

`uv.lock` holds registry addresses and therefore stays out of git; what is committed has names, versions and
checksums only, for every platform.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".bootstrap" / "bin" / "uv"
PLAIN = ("--quiet", "--no-header", "--no-annotate")


def main() -> int:
    uv("lock", "--quiet")
    packages = uv("export", "--frozen", "--all-packages", "--all-groups", "--no-emit-workspace", *PLAIN)
    told = "what every member needs, with the tools of development; any platform, Python 3.11 and later"
    write(ROOT / "requirements.lock", packages, told=told)
    universal = ("--universal", "--python-version", "3.11", "--generate-hashes")
    installer = uv(
        "pip",
        "compile",
        "deploy/bootstrap.in",
        *universal,
        "--constraints",
        "requirements.lock",
        *PLAIN,
        "--no-emit-index-url",
    )
    write(ROOT / "deploy" / "bootstrap.lock", installer, told="what an installation itself needs")
    return 0


def uv(*arguments: str) -> str:
    env = dict(os.environ, UV_SYSTEM_CERTS="1", UV_PYTHON=sys.executable)
    done = subprocess.run([UV, *arguments], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.returncode)
    return done.stdout


def write(path: Path, text: str, *, told: str) -> None:
    if "://" in text:
        raise SystemExit(f"jobyard: {path.name} would name an address; it was not written")
    path.write_text(f"# Written by `make lock`: {told}.\n{text}")


if __name__ == "__main__":
    sys.exit(main())
