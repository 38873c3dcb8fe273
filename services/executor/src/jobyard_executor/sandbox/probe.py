"""The attacker of the self-test: runs inside a level, tries what tools must not do, and prints what it was answered.

A script of the standard library alone: `probe.py <targets as JSON>`. Each attack is answered `refused`, `passed`, or
`unclear: …`; each chore (what must work) `works` or `fails: …`.
"""

# Paths: each attack is the bare system call.
# ruff: noqa: PTH103, PTH104, PTH123, PTH208, PTH211

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

REFUSALS = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.ENOENT, errno.EXDEV, errno.EROFS, errno.EAFNOSUPPORT, errno.ESRCH,
        errno.ENOSYS, errno.EAGAIN, errno.EFBIG, errno.ENOMEM, errno.ENOTTY,
    }
)  # fmt: skip
Targets = dict[str, Any]
libc = ctypes.CDLL(None, use_errno=True)


def attempt(attack: Callable[[Targets], object], targets: Targets) -> str:
    try:
        attack(targets)
    except MemoryError:
        return "refused"
    except OSError as error:
        return "refused" if error.errno in REFUSALS else f"unclear: {error}"
    except Exception as error:
        return f"unclear: {type(error).__name__}: {error}"
    return "passed"


def called(name: str, *arguments: object) -> None:
    """A C function or, with `syscall`, a raw call; raises the OSError of its errno."""
    if getattr(libc, name)(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def syscall(targets: Targets, name: str, *arguments: int) -> None:
    number = targets["syscalls"].get(name)
    if number is None:
        raise OSError(errno.ENOSYS, "not known on this machine")
    called("syscall", ctypes.c_long(number), *map(ctypes.c_long, arguments))


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def inherited(targets: Targets) -> None:
    for descriptor in range(3, 256):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        return
    raise OSError(errno.EACCES, "nothing inherited")


def secrets_in_environment(targets: Targets) -> None:
    if not set(os.environ) - set(targets["environment"]) - {"LC_CTYPE", "PWD"}:
        raise OSError(errno.EACCES, "only what was named")


def new_privileges(targets: Targets) -> None:
    if libc.prctl(39, 0, 0, 0, 0) == 1:
        raise OSError(errno.EPERM, "no_new_privs is set")


def heap(targets: Targets) -> None:
    bytearray(targets["memory_bytes"] * 2)


def big_file(targets: Targets) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open("big", "wb") as file:
        file.write(bytes(targets["file_bytes"] + 1))
        file.flush()


def big_memfd(targets: Targets) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    descriptor = os.memfd_create("big")
    os.ftruncate(descriptor, targets["file_bytes"] + 1)


def raise_limits(targets: Targets) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard * 2))
    except ValueError as error:
        raise OSError(errno.EPERM, str(error)) from error


def fork_bomb(targets: Targets) -> None:
    children: list[int] = []
    try:
        for _ in range(targets["forks"]):
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def linked_secret(targets: Targets) -> None:
    os.symlink(targets["secret"], "link")
    read("link")


def write_outside(targets: Targets) -> None:
    with open(targets["neighbour"] + "/planted", "wb") as file:
        file.write(b"x")


def rename_out(targets: Targets) -> None:
    with open("mine", "wb") as file:
        file.write(b"x")
    os.rename("mine", targets["neighbour"] + "/moved")


def connect(family: int, kind: int, address: Any) -> Callable[[Targets], None]:
    def attack(targets: Targets) -> None:
        with socket.socket(family, kind) as sock:
            sock.settimeout(1)
            sock.connect(targets[address] if isinstance(address, str) else address)

    return attack


def connect_tcp(targets: Targets) -> None:
    connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", targets["port"]))(targets)


def bind_port(targets: Targets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()


def send_udp(targets: Targets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("127.0.0.1", 9))


def old_calls(targets: Targets) -> None:
    """32-bit system calls, which a filter for 64 bits would not see."""
    if platform.machine() != "x86_64":
        raise OSError(errno.ENOSYS, "none on this machine")
    pid = os.fork()
    if pid == 0:
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
        os._exit(0)
    if os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
        raise OSError(errno.EPERM, "killed")


def become(uid: int) -> None:
    try:
        os.setresuid(-1, uid, -1)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise OSError(errno.EPERM, "no such user in this namespace") from error
        raise


def list_processes(targets: Targets) -> None:
    if len([name for name in os.listdir("/proc") if name.isdigit()]) < 8:
        raise OSError(errno.ENOENT, "only its own")


def host_name(targets: Targets) -> None:
    if os.uname().nodename == "tool":
        raise OSError(errno.ENOENT, "not the host's")


ATTACKS: dict[str, dict[str, Callable[[Targets], object]]] = {
    "L1": {
        "inherited descriptors": inherited,
        "secrets in the environment": secrets_in_environment,
        "new privileges": new_privileges,
        "heap over the limit": heap,
        "file over the limit": big_file,
        "memory file over the limit": big_memfd,
        "raise the limits": raise_limits,
        "fork bomb": fork_bomb,
    },
    "neighbours": {
        "read a neighbour's file": lambda targets: read(targets["secret"]),
        "read through a link": linked_secret,
        "hard link to a secret": lambda targets: os.link(targets["secret"], "hard"),
        "write outside": write_outside,
        "rename outside": rename_out,
        "read a neighbour's environment": lambda targets: read(f"/proc/{targets['victim']}/environ"),
        "open the parent's memory": lambda targets: read(f"/proc/{targets['control']}/mem"),
        "ptrace": lambda targets: called("ptrace", 0x4206, targets["victim"], None, None),
        "signal a neighbour": lambda targets: os.kill(targets["victim"], signal.SIGCONT),
        "signal the control process": lambda targets: os.kill(targets["control"], signal.SIGCONT),
        "limit a neighbour": lambda targets: resource.prlimit(targets["victim"], resource.RLIMIT_NOFILE, (10, 10)),
    },
    "own user": {
        "become root": lambda targets: become(0),
        "become the next user": lambda targets: become(os.getuid() + 1),
    },
    "L2": {
        "read /etc/passwd": lambda targets: read("/etc/passwd"),
        "connect by TCP": connect_tcp,
        "send by UDP": send_udp,
        "listen on a port": bind_port,
        "connect to a path socket": connect(socket.AF_UNIX, socket.SOCK_STREAM, "path_socket"),
        "connect to an abstract socket": connect(socket.AF_UNIX, socket.SOCK_STREAM, "abstract_socket"),
        "netlink": lambda targets: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
        "user namespace": lambda targets: called("unshare", 0x10000000),
        "mount": lambda targets: called("mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "chroot": lambda targets: os.chroot("."),
        "io_uring": lambda targets: syscall(targets, "io_uring_setup", 1, 0),
        "bpf": lambda targets: syscall(targets, "bpf", 0, 0, 0),
        "keyring": lambda targets: syscall(targets, "keyctl", 0, -3, 0, 0, 0),
        "32-bit system calls": old_calls,
    },
    "L3": {"list processes": list_processes, "host name": host_name},
}


def chores() -> dict[str, str]:
    """What a tool must be able to do at every level."""
    return {"thread": _works(_thread), "subprocess": _works(_subprocess), "files": _works(_files)}


def _works(chore: Callable[[], None]) -> str:
    try:
        chore()
    except Exception as error:
        return f"fails: {type(error).__name__}: {error}"
    return "works"


def _thread() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.set)
    thread.start()
    thread.join(5)
    if not done.is_set():
        raise TimeoutError("no thread ran")


def _subprocess() -> None:
    subprocess.run(["/bin/sh", "-c", ":"], check=True, timeout=5)


def _files() -> None:
    os.makedirs("out/deep", exist_ok=True)
    with open("out/deep/file", "w") as file:
        file.write("x")
    os.rename("out/deep/file", "out/file")


def main() -> None:
    targets: Targets = json.loads(sys.argv[1])
    report: dict[str, str] = {}
    for kind in targets["attacks"]:
        for name, attack in ATTACKS[kind].items():
            report[name] = attempt(attack, targets)
    print(json.dumps({"attacks": report, "chores": chores()}), flush=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.pause()
        os._exit(0)
    os.wait()


if __name__ == "__main__":
    main()
