"""How many workers and slots, where they work, and which tools they know."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jobyard_executor.worker.settings import Memory, WorkerSettings

CORES = os.cpu_count() or 1

PASSED_ON = (
    "PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONUTF8", "SSL_CERT_FILE",
    "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
"""What of this process's environment tools may see. Credentials of ours are in none of these."""


@dataclass(frozen=True, kw_only=True)
class RunnerSettings:
    """`work_root` belongs to this runner alone: it is emptied at the start. `levels` None = prove them by attack.

    `user_ids` are the first id and the count of users that command tools may have of their own, where we are root;
    `cgroup` is the control group that was delegated to us, if one was."""

    work_root: Path
    packs: tuple[str, ...] = ()
    enable_shell: bool = False
    folders: tuple[Path, ...] = ()
    loader: str = "jobyard_executor.tools.catalogue:load"
    async_workers: int = max(1, CORES // 2)
    async_slots: int = 500
    process_slots: int = 2 * CORES
    command_slots: int = 2 * CORES
    jobs_per_child: int = 1000
    limits: Memory = field(default_factory=Memory)
    levels: frozenset[str] | None = None
    user_ids: tuple[int, int] = (0, 0)
    cgroup: str = ""
    proof_file: Path | None = None
    """Where the self-test keeps what it proved; None: no cache."""

    def for_workers(self) -> WorkerSettings:
        return WorkerSettings(
            work_root=str(self.work_root),
            packs=self.packs,
            enable_shell=self.enable_shell,
            folders=tuple(map(str, self.folders)),
            loader=self.loader,
            jobs_per_child=self.jobs_per_child,
            limits=self.limits,
            user_ids=self.user_ids,
            cgroup=self.cgroup,
        )


def environment_of_workers(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if name in PASSED_ON or name.startswith(("LC_", "TOOL_"))
    }
