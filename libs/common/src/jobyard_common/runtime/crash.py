"""Named points at which a process can be made to kill itself, so that tests die exactly where they mean to.

`JOBYARD_CRASH_AT=K5` sends SIGKILL to the process at its first passage of K5, `K5:3` at the third, `K5:1:30` thirty
milliseconds after the first. Without the variable `crash` is a function that does nothing, chosen once at import: a
passage costs one call. The variable is for tests only and is read here, because the choice must precede every import
of `crash`; worker processes of the executor never see it.

The points, each between two durable steps (docs/reliability.md says what must follow from each):

K1  gateway: a command is about to be sent           K9  executor: a tool has ended, its result is not stored
K2  gateway: it is on its way, not acknowledged      K10 executor: the result's transaction is not committed
K3  gateway: it is acknowledged, nobody was told     K11 executor: the result is committed, its event not published
K4  consumer: records are read, nothing is begun     K12 relay: records are published, their rows not deleted
K5  consumer: effects are written, not committed     K13 monitor: an event is being projected
K6  consumer: effects are committed, nothing after   K15 files: bytes are on the disk, the database does not know
K7  executor: jobs are claimed, no tool is started   K16 migrations: a step is done, not committed
K8  executor: a tool runs and has said something
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

VARIABLE = "JOBYARD_CRASH_AT"
POINTS = ("K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K9", "K10", "K11", "K12", "K13", "K15", "K16")


class UnknownPoint(ValueError):
    """The variable names no point of ours; a test that waited for it would wait for ever."""


def _nothing(_point: str) -> None:
    return None


def armed(order: str) -> Callable[[str], None]:
    """The function that obeys `order`, `POINT[:nth[:after_ms]]`.

    Raises:
        UnknownPoint: there is no such point.
    """
    point, *rest = order.split(":")
    nth, after_ms = ([int(part) for part in rest] + [1, 0][len(rest) :])[:2]
    if point not in POINTS:
        raise UnknownPoint(f"{VARIABLE}={order}: known are {', '.join(POINTS)}")
    left = nth

    def crash(passed: str) -> None:
        nonlocal left
        if passed != point:
            return
        left -= 1
        if left == 0:
            _end(order, after_s=after_ms / 1000)

    return crash


def _end(order: str, *, after_s: float) -> None:
    os.write(2, f"crash point {order}\n".encode())
    if after_s:
        threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
    else:
        os.kill(os.getpid(), signal.SIGKILL)


crash: Callable[[str], None] = armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _nothing
