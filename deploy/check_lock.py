"""Whether `requirements.lock` still satisfies what every member declares: `python deploy/check_lock.py`, offline.

Also that no line of it names an address: registries are the user's choice.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent


def pinned(lock: str) -> dict[str, list[Requirement]]:
    """Each package of the lock; one may be pinned several times, for different markers."""
    found: dict[str, list[Requirement]] = {}
    for line in lock.splitlines():
        if line and not line.startswith((" ", "#", "-")):
            requirement = Requirement(line.rstrip("\\ "))
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def declared(root: Path) -> Iterator[tuple[str, Requirement]]:
    """(who, what) for the members' dependencies, extras and groups, and the root's groups."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    members = project["tool"]["uv"]["workspace"]["members"]
    for folder in [".", *members]:
        told = project if folder == "." else tomllib.loads((root / folder / "pyproject.toml").read_text())
        lists = [told.get("project", {}).get("dependencies", [])]
        lists += told.get("project", {}).get("optional-dependencies", {}).values()
        lists += told.get("dependency-groups", {}).values()
        for text in (one for rows in lists for one in rows if isinstance(one, str)):
            yield folder, Requirement(text)


def problems(root: Path, lock: str) -> list[str]:
    """What is wrong with the lock, one sentence each."""
    known, found = pinned(lock), []
    own = {canonicalize_name(name) for name in _member_names(root)}
    for who, requirement in declared(root):
        name = canonicalize_name(requirement.name)
        if name in own or (requirement.marker and not requirement.marker.evaluate(dict(default_environment()))):
            continue
        versions = [Version(next(iter(pin.specifier)).version) for pin in known.get(name, [])]
        if not versions:
            found.append(f"{who} needs {requirement}, the lock has no {name}")
        found += [
            f"{who} needs {requirement}, the lock has {version}"
            for version in versions
            if not requirement.specifier.contains(version, prereleases=True)
        ]
    if "://" in lock:
        found.append("the lock names an address")
    if any(line.startswith("-") for line in lock.splitlines()):
        found.append("the lock holds an option for the installer")
    return found


def _member_names(root: Path) -> Iterator[str]:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    for folder in project["tool"]["uv"]["workspace"]["members"]:
        yield tomllib.loads((root / folder / "pyproject.toml").read_text())["project"]["name"]


def main() -> int:
    found = problems(ROOT, (ROOT / "requirements.lock").read_text())
    for line in found:
        print(f"requirements.lock: {line}; run make lock", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
