"""What the processes of a stack cost, as Linux counts it."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def stat(pid: int) -> tuple[int, float] | None:
    """Parent and CPU seconds of a process with the children it has reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), sum(int(field) for field in fields[11:15]) / TICKS


def tree(root: int) -> set[int]:
    numbers = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    parents = {pid: row[0] for pid in numbers if (row := stat(pid))}
    found = {root} & parents.keys()
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def cpu_s(roots: dict[str, int]) -> dict[str, float]:
    """CPU seconds by name, each with its whole tree."""
    return {name: sum(row[1] for pid in tree(root) if (row := stat(pid))) for name, root in roots.items()}


def pss_mb(root: int) -> float:
    """Proportional memory of a tree in MB."""
    total = 0
    for pid in tree(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total / 1024
