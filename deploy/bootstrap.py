"""Sets up `.venv` from the lock: `python3 deploy/bootstrap.py`, by make before everything else.

Needs Python 3.11 and a package registry, nothing else. It makes `.bootstrap` (a small environment that holds the
installer), installs the locked packages with their checksums, then the members of the workspace in place. A stamp of
all inputs makes the next call return at once. Must be readable by older Pythons, to tell their owners what to do.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = ROOT / ".bootstrap"
STAMP = VENV / "jobyard.stamp"
LOCKS = (ROOT / "requirements.lock", ROOT / "deploy" / "bootstrap.lock")
CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
OLDEST = (3, 11)


class Failed(Exception):
    """The text is one sentence that says what to do."""


def members():
    """Folders of the workspace, as the root project lists them."""
    text = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^members\s*=\s*\[([^\]]*)\]", text, re.MULTILINE)
    if listed is None:
        raise Failed("pyproject.toml lists no workspace members; is this the whole repository?")
    return [ROOT / name for name in re.findall(r'"([^"]+)"', listed.group(1))]


def fingerprint():
    """Of everything that decides what is installed, and where."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {sys.base_prefix} {ROOT}".encode())
    for path in (*LOCKS, *(folder / "pyproject.toml" for folder in members())):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main():
    if sys.version_info < OLDEST:
        have = ".".join(str(part) for part in sys.version_info[:2])
        print(
            f"jobyard: Python {have} is too old; install Python 3.11 or later, or name one: make PYTHON=python3.12",
            file=sys.stderr,
        )
        return 1
    with (ROOT / "deploy" / "bootstrap.py").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            wanted = fingerprint()
            if STAMP.exists() and STAMP.read_text() == wanted and (VENV / "bin" / "python").exists():
                return 0
            install(wanted)
        except Failed as error:
            print(f"jobyard: {error}", file=sys.stderr)
            return 1
    return 0


def install(wanted):
    """The steps, each said when it is done."""
    began = time.monotonic()

    def say(text):
        print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)

    installer = ensure_installer(say)
    if not (VENV / "bin" / "python").exists():
        run([installer, "venv", "--quiet", "--python", sys.executable, VENV], why="the environment .venv was not made")
    python = VENV / "bin" / "python"
    packages = [argument for lock in LOCKS for argument in ("--requirements", lock)]
    say("installing the locked packages into .venv")
    run(
        [installer, "pip", "install", "--quiet", "--python", python, "--require-hashes", *packages],
        why="the locked packages were not installed",
    )
    say("installing the members of the workspace in place")
    editable = [argument for folder in members() for argument in ("--editable", folder)]
    offline = ["--no-deps", "--no-build-isolation", "--offline"]
    run(
        [installer, "pip", "install", "--quiet", "--python", python, *offline, *editable],
        why="the members were not installed",
    )
    STAMP.write_text(wanted)
    say("everything is installed")


def ensure_installer(say):
    """uv in an environment of its own, as the lock pins it."""
    installer = TOOLS / "bin" / "uv"
    pinned = requirement_of("uv", LOCKS[1])
    stamp = TOOLS / "jobyard.stamp"
    if installer.exists() and stamp.exists() and stamp.read_text() == pinned:
        return installer
    say("making .bootstrap, the environment of the installer")
    shutil.rmtree(TOOLS, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", str(TOOLS)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Failed(
            "python3 -m venv does not work here; install it (Debian, Ubuntu: apt install python3-venv) and try again"
            f" ({last_line(made.stdout + made.stderr)})"
        )
    wanted = TOOLS / "uv.txt"
    wanted.write_text(pinned)
    run(
        [TOOLS / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", wanted],
        why="the installer uv was not installed",
    )
    stamp.write_text(pinned)
    return installer


def requirement_of(name, lock):
    """The lines of one package in a lock, with its checksums."""
    lines, taken = lock.read_text().splitlines(), []
    for line in lines:
        if line.startswith(f"{name}=="):
            taken = [line]
        elif taken and line.startswith("    --hash"):
            taken.append(line)
        elif taken:
            break
    if not taken:
        raise Failed(f"{lock.name} has no {name}; run make lock")
    return "\n".join(taken) + "\n"


def run(command, why):
    """One step of the installation, its output shown; a failure becomes a sentence."""
    done = subprocess.run(
        [str(part) for part in command],
        env=environment(),
        stdout=sys.stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
        raise Failed(
            f"{why} ({last_line(done.stderr)}); check that the package registry of your pip settings"
            " (PIP_INDEX_URL, pip.conf) can be reached, then try again"
        )


def environment():
    """pip and uv use the same registry and the machine's own certificates."""
    env = dict(os.environ, UV_SYSTEM_CERTS="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    env.pop("VIRTUAL_ENV", None)
    bundle = next((path for path in CERTIFICATES if Path(path).exists()), None)
    if bundle is not None:
        # the certificates that pip brings do not know a company's own authority
        env.setdefault("PIP_CERT", bundle)
    for setting, variable in (("index-url", "UV_DEFAULT_INDEX"), ("extra-index-url", "UV_INDEX")):
        given = pip_setting(setting)
        if given:
            env.setdefault(variable, given)
    return env


_pip_settings = {}


def pip_setting(name):
    """What pip is configured to use; uv does not read pip's files."""
    if not _pip_settings:
        _pip_settings[""] = ""
        told = subprocess.run(
            [str(TOOLS / "bin" / "python"), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
        )
        for line in told.stdout.splitlines():
            key, _, value = line.partition("=")
            _pip_settings[key.rpartition(".")[2]] = value.strip().strip("'\"").replace("\\n", " ")
    return _pip_settings.get(name, "")


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it gave no reason"


if __name__ == "__main__":
    sys.exit(main())
