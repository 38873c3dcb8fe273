"""Users for tools, on this machine's kernel. Without root there are none to lend, and each test says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobyard_executor.sandbox import users
from jobyard_executor.sandbox.kernel import KernelRefused
from jobyard_executor.sandbox.users import BLOCK, Lease, NoUsers

IDS = (1_000_000 + os.getpid() * 2 * BLOCK, 2 * BLOCK)
"""No other run of these tests has the same at the same time."""


@pytest.fixture
def lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lease | None]:
    monkeypatch.setattr(users, "LOCKS", tmp_path / "locks")
    try:
        found = users.lease(*IDS)
    except NoUsers:
        assert os.geteuid() != 0
        yield None
        return
    yield found
    found.end()


def sleeper(uid: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "60"], user=uid, group=uid, extra_groups=[])


def test_a_block_belongs_to_one_process_and_runs_out(lease: Lease | None) -> None:
    if lease is None:
        with pytest.raises(NoUsers, match="root"):
            users.lease(*IDS)
        return
    other = users.lease(*IDS)
    assert {lease.keeper, other.keeper} == {IDS[0], IDS[0] + BLOCK}
    with pytest.raises(NoUsers, match="free"):
        users.lease(*IDS)
    other.end()
    users.lease(*IDS).end()


def test_users_come_round_only_after_all_others_and_never_the_keeper(lease: Lease | None) -> None:
    lent = (lease or Lease(IDS[0], -1)).next
    turn = [lent().uid for _ in range(2 * (BLOCK - 1))]
    assert len(set(turn)) == BLOCK - 1
    assert turn[: BLOCK - 1] == turn[BLOCK - 1 :]
    assert lent().keeper not in turn


@pytest.mark.serial
def test_one_stroke_ends_a_user_and_nobody_else(lease: Lease | None) -> None:
    if lease is None:
        with pytest.raises(KernelRefused):
            users.kill_all(users.User(uid=IDS[0] + 1, keeper=IDS[0]))
        return
    victim, neighbour = lease.next(), lease.next()
    victims = [sleeper(victim.uid) for _ in range(5)]
    spared = [sleeper(neighbour.uid), sleeper(0)]
    users.kill_all(victim)
    assert [process.wait(10) for process in victims] == [-signal.SIGKILL] * 5
    assert [process.poll() for process in spared] == [None, None]
    users.kill_all(victim)
    for process in spared:
        process.kill()
        process.wait(10)


def test_who_kept_a_power_strikes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL to everybody within reach is sent only by a thread that has no capability and no trace of root."""
    struck: list[bool] = []
    monkeypatch.setattr(users, "_kill_everybody", lambda: struck.append(True))
    monkeypatch.setattr(users, "is_powerless", lambda: False)
    with pytest.raises(KernelRefused):
        users.kill_all(users.User(uid=IDS[0] + 1, keeper=IDS[0]))
    monkeypatch.setattr(users, "is_powerless", lambda: True)
    monkeypatch.setattr(users, "call", lambda *_: 0)
    monkeypatch.setattr(os, "getresuid", lambda: (IDS[0], IDS[0] + 1, 0))
    with pytest.raises(KernelRefused):
        users.kill_all(users.User(uid=IDS[0] + 1, keeper=IDS[0]))
    assert struck == []


def test_a_folder_that_is_taken_back_is_shut(lease: Lease | None, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "data").write_text("x")
    uid = lease.next().uid if lease else os.geteuid()
    users.give(str(folder), uid)
    assert [path.stat().st_uid for path in (folder, folder / "in", folder / "in" / "data")] == [uid] * 3
    folder.chmod(0o777)
    users.take_back(str(folder))
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (os.geteuid(), 0o700)


def test_nothing_of_ours_changes_user(lease: Lease | None) -> None:
    if lease is None:
        return
    before = os.getresuid(), os.getgroups(), Path("/proc/self/status").read_text().split("CapInh")[1][:200]
    users.apart(lambda: users.become(lease.next()))
    after = os.getresuid(), os.getgroups(), Path("/proc/self/status").read_text().split("CapInh")[1][:200]
    assert before == after


BEHIND_A_WALL = """
import os, sys
from jobyard_executor.sandbox import reach, users
wall = sys.argv[1]
reach.open_up([wall + "/a/needed", wall + "/a/needed/private/too", wall + "/file"])
found = []
def look():
    users.become(users.User(uid=361000, keeper=360999))
    for path in ("/a/needed/data", "/a/needed/private/too/data", "/file", "/a/other", "/secret"):
        try:
            found.append(open(wall + path).read())
        except OSError as error:
            found.append(type(error).__name__)
users.apart(look)
print(",".join(found))
"""


def test_only_what_is_needed_is_seen_behind_a_private_folder(tmp_path: Path) -> None:
    wall = tmp_path / "wall"
    (wall / "a" / "needed" / "private" / "too").mkdir(parents=True)
    (wall / "a" / "other").write_text("other")
    (wall / "secret").write_text("secret")
    for name in ("a/needed/data", "a/needed/private/too/data", "file"):
        (wall / name).write_text(name)
    (wall / "a" / "needed" / "private").chmod(0o700)
    wall.chmod(0o700)
    done = subprocess.run([sys.executable, "-c", BEHIND_A_WALL, str(wall)], capture_output=True, text=True, timeout=30)
    if os.geteuid() != 0:
        assert "KernelRefused" in done.stderr
        return
    assert done.stdout.strip() == (
        "a/needed/data,a/needed/private/too/data,file,FileNotFoundError,FileNotFoundError"
    ), done.stderr
    assert (wall / "secret").read_text() == "secret"
