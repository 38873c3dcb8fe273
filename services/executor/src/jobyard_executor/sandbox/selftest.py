"""Which levels hold on this machine: each is attacked at the start, and only those that refuse everything are offered.

prove ─► cached for this boot, this code and this user? ─► else a process of its own: victim + attacker per level,
         once as this process's user and once, where root may lend users, as a user of the attacker's own
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from jobyard_executor.sandbox import bubblewrap, jail
from jobyard_executor.sandbox.attacks import TRIED, own_user

BOTTOM = "L0"
LIMIT_S = 45.0


@dataclass(frozen=True)
class Proof:
    """`levels` hold; `faults` says for each other level what it let through or why it could not be tried.

    `own_users` are those of them that hold with a user of the tool's own, whose processes the kernel limits; its faults
    stand under `own_user(level)`."""

    levels: frozenset[str]
    faults: Mapping[str, Sequence[str]] = field(default_factory=dict)
    took_s: float = 0.0
    cached: bool = False
    own_users: frozenset[str] = frozenset()


def prove(*, cache: Path | None = None, ids: tuple[int, int] = (0, 0), cgroup: str = "") -> Proof:
    """The levels of this machine. A self-test that does not come to its end proves nothing but L0.

    `ids`: the first user id that tools may have of their own, and how many; none: tools run as this process's user.
    `cgroup`: the control group that was delegated to us, if one was.
    """
    key = _key(ids, cgroup)
    remembered = _remembered(cache, key)
    if remembered is not None:
        return remembered
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "jobyard_executor.sandbox.attacks", *map(str, ids), cgroup],
            capture_output=True,
            timeout=LIMIT_S,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            start_new_session=True,
            check=True,
        )
        faults = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        stderr = getattr(error, "stderr", None) or b""
        reason = f"the self-test failed: {error} {stderr.decode(errors='replace')[-500:]}"
        return Proof(frozenset({BOTTOM}), {level: [reason] for level in TRIED}, time.monotonic() - began)
    proof = _proof(faults, took_s=time.monotonic() - began)
    _remember(cache, key, faults)
    return proof


def _proof(faults: Mapping[str, Sequence[str]], *, took_s: float = 0.0, cached: bool = False) -> Proof:
    """A level counts only with all those below it."""
    levels = {BOTTOM}
    for level in TRIED:
        if faults.get(level, ["not tried"]):
            break
        levels.add(level)
    own_users = frozenset(level for level in levels if faults.get(own_user(level), ["not tried"]) == [])
    found = {level: found for level, found in faults.items() if found}
    return Proof(frozenset(levels), found, took_s, cached, own_users)


def _key(ids: tuple[int, int] = (0, 0), cgroup: str = "") -> str:
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        code.update(path.read_bytes())
    with suppress(OSError):
        code.update(Path("/proc/sys/kernel/random/boot_id").read_bytes())
    programs = (sys.executable, bubblewrap.program(), jail.prlimit_program())
    for fact in (os.uname().release, os.getuid(), *programs, ids, cgroup):
        code.update(repr(fact).encode())
    return code.hexdigest()


def _remembered(cache: Path | None, key: str) -> Proof | None:
    if cache is None:
        return None
    try:
        kept = json.loads(cache.read_text())
        return _proof(kept["faults"], cached=True) if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(cache: Path | None, key: str, faults: Mapping[str, Sequence[str]]) -> None:
    if cache is None:
        return
    fresh = cache.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        fresh.write_text(json.dumps({"key": key, "faults": faults}))
        fresh.replace(cache)
