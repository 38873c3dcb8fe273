"""Free ports, kept from start to start where nobody took them meanwhile, and the owner of a taken one."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path

from jobyard_local.errors import PortTaken

HOST = "127.0.0.1"
OWN_RANGE = range(20_000, 32_000)


def free_port(preferred: int = 0, *, but: Iterable[int] = ()) -> int:
    """`preferred` if nobody listens there, else a random free one that is not in `but`.

    Below the range from which the kernel takes ports of outgoing connections: none of those can sit on it while a
    server is away for a moment.
    """
    taken = set(but)
    if preferred and preferred not in taken and is_free(preferred):
        return preferred
    for _ in range(1000):
        port = secrets.choice(OWN_RANGE)
        if port not in taken and is_free(port):
            return port
    raise PortTaken(f"no free port from {OWN_RANGE.start} to {OWN_RANGE.stop - 1} on {HOST}")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def require_free(port: int, *, setting: str) -> None:
    """Raises `PortTaken` naming the owner where the kernel tells."""
    try:
        free = is_free(port)
    except OverflowError:
        raise PortTaken(
            f"{setting}={port} is not a port; use a number from 1 to 65535, or 0 for any free one"
        ) from None
    if not free:
        raise PortTaken(
            f"port {port} is taken by {owner_of(port)}; stop it, or start with {setting}=0 for any free port"
        )


def owner_of(port: int) -> str:
    """The process that listens on `port`, as a person would name it."""
    inodes = _listening(port)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (entry / "fd").iterdir():
                with contextlib.suppress(OSError):
                    target = str(descriptor.readlink())
                    if target.startswith("socket:[") and target[8:-1] in inodes:
                        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                        return f"process {entry.name} ({command[:80]})"
    return "another process"


def _listening(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(fields[9])
    return inodes
