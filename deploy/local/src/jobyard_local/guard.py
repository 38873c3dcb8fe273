"""Becomes another program, tied to the life of its parent: `guard.py OPTIONS -- program arguments…`.

Run as a script by `process.py`, never imported by a service. Between fork and exec it
1. enters a user namespace where the caller has the ids `--userns UID:GID` (for a server that refuses root), or
   gives root away for good with `--drop UID:GID`,
2. asks the kernel to send `--signal N` when the parent thread ends. It must be the last step: a change of
   identity clears the request, an exec keeps it,
3. ends if the parent died meanwhile, else executes the program under its own process id.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
EXIT_NO_NAMESPACE = 125


def main(arguments: list[str]) -> int:  # noqa: RET503  (an exec does not return)
    end = arguments.index("--")
    options = dict(zip(arguments[:end:2], arguments[1:end:2], strict=True))
    program = arguments[end + 1 :]
    if "--userns" in options:
        uid, gid = map(int, options["--userns"].split(":"))
        try:
            enter_user_namespace(uid, gid=gid)
        except OSError as error:
            print(f"no user namespace: {error}", file=sys.stderr)
            return EXIT_NO_NAMESPACE
    if "--drop" in options:
        uid, gid = map(int, options["--drop"].split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        _libc().prctl(PR_SET_PDEATHSIG, int(options["--signal"]), 0, 0, 0)
    if os.getppid() != int(options["--parent"]):
        return 1
    os.execv(program[0], program)  # noqa: S606  (the point of this file)


def enter_user_namespace(uid: int, *, gid: int) -> None:
    """From now on this process is `uid:gid`, files of the caller stay its own; raises `OSError` where refused."""
    real_uid, real_gid = os.geteuid(), os.getegid()
    libc = _libc()
    if libc.unshare(CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {real_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {real_gid} 1")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
