"""From the lock of the whole workspace, the part that one member needs.

The resolver says which packages those are, bound to the versions of the lock; what is written is the lock's own text
with its own checksums. A package that the lock does not have ends the build.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

OURS = "jobyard"


def project(member: Path) -> tuple[str, list[str]]:
    """Name and dependencies of a member."""
    found = tomllib.loads((member / "pyproject.toml").read_text())["project"]
    return found["name"], found.get("dependencies", [])


def name_of(requirement: str) -> str:
    """The normalised name at the start of a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]).lower()


def closure(member: Path, known: dict[str, Path]) -> list[Path]:
    """The members that `member` is made of, itself last."""
    found: list[Path] = []
    for requirement in project(member)[1]:
        if name_of(requirement) in known:
            found += [one for one in closure(known[name_of(requirement)], known) if one not in found]
    return [*found, member]


def foreign(members: list[Path]) -> list[str]:
    """What they need from elsewhere."""
    return [text for member in members for text in project(member)[1] if not name_of(text).startswith(OURS)]


def blocks(lock: str) -> Iterator[tuple[str, str]]:
    """Each package of a lock with its text."""
    for text in re.split(r"\n(?=[A-Za-z0-9])", lock):
        if "==" in text and not text.startswith("#"):
            yield name_of(text), text.rstrip() + "\n"


def resolve(requirements: list[str], *, lock: Path) -> set[str]:
    """Names of everything that these requirements lead to on this platform."""
    argv = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--constraints", str(lock), "-"]
    done = subprocess.run(argv, input="\n".join(requirements), stdout=subprocess.PIPE, text=True, check=True)
    return {name_of(line) for line in done.stdout.splitlines() if "==" in line}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("member", type=Path)
    parser.add_argument("--lock", type=Path, required=True, help="where to write the chosen part of requirements.lock")
    parser.add_argument("--members", type=Path, required=True, help="where to write the folders to install")
    wanted = parser.parse_args()
    known = {project(path.parent)[0]: path.parent for path in Path("libs").glob("*/pyproject.toml")}
    members = closure(wanted.member, known)
    source = Path("requirements.lock")
    names = resolve(foreign(members), lock=source)
    chosen = {name: text for name, text in blocks(source.read_text()) if name in names}
    if missing := sorted(names - chosen.keys()):
        print(f"requirements.lock lacks {', '.join(missing)}: run make lock", file=sys.stderr)
        return 1
    wanted.lock.write_text("".join(chosen.values()))
    wanted.members.write_text("".join(f"./{member}\n" for member in members))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
