"""The unit tests of every member, each in an environment of its own: `python deploy/isolated.py [member …]`.

Such an environment is made anew and holds the member and the members it names (as the wheels they are shipped as), what
those declare (as `requirements.lock` pins it, checksums included), pytest, and the member's dependency group `test`.
An import that works elsewhere only because another member declares the package fails here, and so does a file that
did not get into the wheel.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import bootstrap
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

AT_ONCE = 2
TEST_TOOLS = ("pytest", "pytest-timeout", "hypothesis")


@dataclass(frozen=True)
class Member:
    """A project of the workspace; `needs` and `test_needs` are what its pyproject.toml declares."""

    name: str
    folder: Path
    needs: tuple[Requirement, ...]
    test_needs: tuple[Requirement, ...]


@dataclass
class Contents:
    """What goes into one environment: members by name, packages of the lock by name."""

    members: set[str] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)


def workspace(folders: Iterable[Path]) -> dict[str, Member]:
    """The members by their project names."""
    found = {}
    for folder in folders:
        told = tomllib.loads((folder / "pyproject.toml").read_text())
        name = canonicalize_name(told["project"]["name"])
        needs = tuple(map(Requirement, told["project"].get("dependencies", [])))
        test_needs = tuple(map(Requirement, told.get("dependency-groups", {}).get("test", [])))
        found[name] = Member(name, folder, needs, test_needs)
    return found


def contents(member: Member, known: dict[str, Member]) -> Contents:
    """The member with everything that follows from its declarations, and nothing else."""
    found, seen = Contents(), set[tuple[str, str]]()
    waiting = [*member.test_needs, *map(Requirement, TEST_TOOLS), Requirement(member.name)]
    while waiting:
        needed = waiting.pop()
        name = canonicalize_name(needed.name)
        for extra in ("", *needed.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            if name in known:
                found.members.add(name)
                waiting += known[name].needs
            else:
                found.packages.add(name)
                waiting += _requirements(name, extra)
    return found


def _requirements(name: str, extra: str) -> list[Requirement]:
    """What a package asks for on this machine, as the common environment knows it."""
    try:
        told = [Requirement(text) for text in requires(name) or []]
    except PackageNotFoundError:
        raise bootstrap.Failed(f"{name} is declared but not installed; run make lock, then make setup") from None
    return [one for one in told if one.marker is None or one.marker.evaluate({"extra": extra})]


def pins(lock: str) -> dict[str, str]:
    """The lines of each package in a lock, checksums included; one may be pinned several times, by markers."""
    found: dict[str, str] = {}
    name = ""
    for line in lock.splitlines():
        if line and not line.startswith((" ", "#")):
            name = canonicalize_name(Requirement(line.rstrip("\\ ")).name)
        if name:
            found[name] = f"{found.get(name, '')}{line}\n"
    return found


@dataclass(frozen=True)
class Workshop:
    """Where environments and wheels are made, by the installer of `.bootstrap`."""

    folder: Path
    installer: Path
    locked: dict[str, str]

    def environment(self, name: str, locks: str) -> Path:
        """The interpreter of a new environment that holds exactly the pinned packages."""
        venv, wanted = self.folder / name, self.folder / f"{name}.txt"
        wanted.write_text(locks)
        self._uv("venv", "--quiet", "--python", sys.executable, venv)
        self._install(venv, "--require-hashes", "--requirements", wanted)
        return venv / "bin" / "python"

    def wheels(self, members: Iterable[Member]) -> dict[str, Path]:
        """One wheel a member, by the build backend that the lock pins."""
        builder = self.environment("builder", (bootstrap.ROOT / "deploy" / "bootstrap.lock").read_text())
        built = {}
        for member in members:
            out = self.folder / "wheels" / member.name
            _run([builder, "-m", "hatchling", "build", "--target", "wheel", "--directory", out], cwd=member.folder)
            (built[member.name],) = out.glob("*.whl")
        return built

    def furnish(self, member: Member, known: dict[str, Member], wheels: dict[str, Path]) -> Path:
        """The interpreter of the member's environment."""
        wanted = contents(member, known)
        missing = wanted.packages - self.locked.keys()
        if missing:
            raise bootstrap.Failed(f"{member.name} needs {', '.join(sorted(missing))}, not in the lock; run make lock")
        python = self.environment(member.name, "".join(self.locked[name] for name in sorted(wanted.packages)))
        self._install(python.parents[1], *(wheels[name] for name in sorted(wanted.members)))
        return python

    def _install(self, venv: Path, *what: object) -> None:
        """From the installer's cache, which `make setup` has filled; from the registry if somebody emptied it."""
        command = ["pip", "install", "--quiet", "--no-deps", "--python", venv / "bin" / "python", *what]
        if self._uv(*command, "--offline", check=False) != 0:
            self._uv(*command)

    def _uv(self, *arguments: object, check: bool = True) -> int:
        return _run([self.installer, *arguments], check=check)


def _run(command: Sequence[object], *, cwd: Path | None = None, check: bool = True) -> int:
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=bootstrap.environment(), capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise bootstrap.Failed(f"{' '.join(words[:4])} … failed:\n{done.stdout}{done.stderr}")
    return done.returncode


def tested(member: Member, python: Path) -> tuple[bool, str]:
    """Whether the member's unit tests pass there, and what pytest said."""
    tests = member.folder / "tests"
    # the conftest.py of the whole tree brings the local stack; only the member's own ones belong here
    limits = [f"--confcutdir={tests}", "-m", "not serial"]
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env["PATH"] = f"{python.parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *limits, str(tests / "unit")],
        cwd=bootstrap.ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stdout


def main(names: Sequence[str]) -> int:
    began = time.monotonic()
    known = workspace(bootstrap.members())
    chosen = [member for member in known.values() if not names or {member.name, _shown(member)} & set(names)]
    if not chosen:
        print(f"jobyard: no such member; there are {', '.join(map(_shown, known.values()))}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="isolated-", dir=bootstrap.TOOLS) as folder:
        installer = bootstrap.ensure_installer(print)
        workshop = Workshop(Path(folder), installer, pins((bootstrap.ROOT / "requirements.lock").read_text()))
        try:
            wheels = workshop.wheels(known.values())
            print(f"[{time.monotonic() - began:6.1f} s] wheels of {len(wheels)} members are built", flush=True)

            def check(member: Member) -> bool:
                passed, told = tested(member, workshop.furnish(member, known, wheels))
                shown = told.strip().splitlines()[-1:] if passed else told.splitlines()
                print(f"[{time.monotonic() - began:6.1f} s] {_shown(member)}: {os.linesep.join(shown)}", flush=True)
                return passed

            with ThreadPoolExecutor(AT_ONCE) as pool:
                return 0 if all(list(pool.map(check, chosen))) else 1
        except bootstrap.Failed as error:
            print(f"jobyard: {error}", file=sys.stderr)
            return 1


def _shown(member: Member) -> str:
    return str(member.folder.relative_to(bootstrap.ROOT))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
