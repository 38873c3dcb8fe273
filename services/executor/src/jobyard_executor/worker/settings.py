"""What the control process tells the forge at its start."""

from __future__ import annotations

import msgspec


class Memory(msgspec.Struct, frozen=True):
    """Limits of one process of a tool (bytes, counts). `command` tools may state their own; `child_memory_bytes` is
    for the warm children that run `process` tools. `work_bytes` and `work_files` are for a whole work dir; with less
    than `disk_reserve_bytes` free, an attempt that fills it is ended."""

    memory_bytes: int = 2 * 2**30
    child_memory_bytes: int = 4 * 2**30
    file_bytes: int = 10 * 2**30
    open_files: int = 1024
    processes: int = 256
    work_bytes: int = 20 * 2**30
    work_files: int = 200_000
    disk_reserve_bytes: int = 256 * 2**20


class WorkerSettings(msgspec.Struct, frozen=True):
    """`loader` is `module:function`, called with the packs; it returns the catalogue of tools. `user_ids` are the first
    id and the count of users that `command` tools may have of their own, where this process is root; `cgroup` is the
    control group that was delegated to us."""

    work_root: str
    packs: tuple[str, ...] = ()
    enable_shell: bool = False
    folders: tuple[str, ...] = ()
    loader: str = "jobyard_executor.tools.catalogue:load"
    jobs_per_child: int = 1000
    limits: Memory = Memory()
    user_ids: tuple[int, int] = (0, 0)
    cgroup: str = ""
