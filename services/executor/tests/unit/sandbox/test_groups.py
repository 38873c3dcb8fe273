"""The files of a control group, in an ordinary folder; what the kernel does with them is proved by the self-test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jobyard_executor.sandbox import cgroups
from jobyard_executor.sandbox.cgroups import Events, Group, NoGroups, name_of, prepare
from jobyard_executor.sandbox.jail import Limits
from jobyard_executor.worker import failures


def delegated(root: Path, controllers: str = "cpu io memory pids") -> Path:
    (root / "cgroup.controllers").write_text(controllers)
    (root / "cgroup.subtree_control").write_text("")
    (root / "cgroup.procs").write_text("")
    return root


def test_a_group_is_limited_before_anybody_is_in_it(tmp_path: Path) -> None:
    group = Group(str(delegated(tmp_path)), "g", memory_bytes=100, tasks=7)
    written = {path.name: path.read_text() for path in group.path.iterdir()}
    assert written == {
        "memory.max": "100",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "7",
        "cpu.weight": "50",
    }
    group.take(4711)
    group.kill()
    assert [(group.path / name).read_text() for name in ("cgroup.procs", "cgroup.kill")] == ["4711", "1"]


@pytest.mark.parametrize("root", ["", "missing"])
def test_no_group_is_made_in_what_is_none(tmp_path: Path, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoGroups):
        Group(root, "g", memory_bytes=1, tasks=1)
    assert list(tmp_path.iterdir()) == []


def test_what_the_kernel_counted_is_read(tmp_path: Path) -> None:
    group = Group(str(delegated(tmp_path)), "g", memory_bytes=1, tasks=1)
    assert group.events() == Events(0, 0)
    (group.path / "memory.events").write_text("low 0\nhigh 0\nmax 31\noom 2\noom_kill 4\noom_group_kill 1\n")
    (group.path / "pids.events").write_text("max 9\n")
    assert group.events() == Events(oom=4, forks_refused=9)


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        (Events(0, 0), None),
        (Events(1, 0), failures.OOM),
        (Events(1, 1), failures.OOM),
        (Events(0, 1), "resource_exhausted"),
    ],
)
def test_events_become_verdicts(events: Events, verdict: str | None) -> None:
    found = failures.refused_by_group(events, Limits())
    assert (found[0] if found else None) == verdict


def test_the_controllers_are_switched_on(tmp_path: Path) -> None:
    prepare(str(delegated(tmp_path)))
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"


@pytest.mark.parametrize("controllers", ["", "hugetlb", "memory pids"])
def test_a_group_without_the_controllers_is_refused(tmp_path: Path, controllers: str) -> None:
    with pytest.raises(NoGroups, match="controller"):
        prepare(str(delegated(tmp_path, controllers)))


def test_no_delegation_and_no_group_are_said_apart(tmp_path: Path) -> None:
    with pytest.raises(NoGroups, match="delegated"):
        prepare("")
    with pytest.raises(NoGroups, match="may use"):
        prepare(str(tmp_path))


def test_groups_of_the_dead_are_ended_and_those_of_the_living_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(cgroups.Path, "rmdir", lambda path: removed.append(path.name))
    root = delegated(tmp_path)
    for name in ("jobyard-4194304999-1", name_of(1), "jobyard-x-1", "other"):
        (root / name).mkdir()
    prepare(str(root))
    assert removed == ["jobyard-4194304999-1"]
    assert name_of(1) == f"jobyard-{os.getpid()}-1"
