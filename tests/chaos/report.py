"""The row of a run, and how fast the load came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.plan import Kind
from tests.chaos.watch import Watch

LAST_S = 20.0
"""The end of the quiet, in which the load must get through."""
LOOK_S = 3.0
HEAD = (
    "| seed | minutes | kills | freezes | backend kills | network faults | disk, clock | submitted | accepted | lost "
    "| recorded twice | other breaches | load, jobs/s | back after each burst, % (s) |"
)


@dataclass(frozen=True)
class Recovery:
    """`share` of the load that was accepted and that ended at the end of the quiet; `after_s` until 80 % held."""

    share: float
    after_s: float | None


@dataclass(frozen=True)
class Report:
    seed: int
    minutes: float
    counts: Mapping[Kind, int]
    submitted: int
    accepted: int
    lost: int
    twice: int
    breaches: int
    rate: float
    recoveries: Sequence[Recovery]
    ends: Mapping[str, int]
    """Jobs by state and reason."""

    def row(self) -> str:
        """One line of the table under `HEAD`."""
        count = {kind: self.counts.get(kind, 0) for kind in Kind}
        back = ", ".join(
            f"{one.share * 100:.0f} ({'–' if one.after_s is None else f'{one.after_s:.0f}'})" for one in self.recoveries
        )
        cells = (
            self.seed, f"{self.minutes:g}", count[Kind.KILL], count[Kind.FREEZE] + count[Kind.FREEZE_ALONE],
            count[Kind.BACKEND], count[Kind.WIRE], count[Kind.DISK_FULL] + count[Kind.CLOCK_STEP], self.submitted,
            self.accepted, self.lost, self.twice, self.breaches - self.lost - self.twice, f"{self.rate:.0f}", back,
        )  # fmt: skip
        return "| " + " | ".join(map(str, cells)) + " |"


def recovery_of(accepted: Sequence[float], watched: Watch, *, rate: float, end: float, quiet_s: float) -> Recovery:
    """Of one burst, which ended at `end` of the loop's time."""
    start, stop = end + quiet_s - LAST_S, end + quiet_s
    share = _flow(accepted, watched, start, stop) / (rate * LAST_S)
    for second in range(int(quiet_s - LOOK_S)):
        if _flow(accepted, watched, end + second, end + second + LOOK_S) >= 0.8 * rate * LOOK_S:
            return Recovery(share, float(second))
    return Recovery(share, None)


def _flow(accepted: Sequence[float], watched: Watch, start: float, stop: float) -> int:
    return min(sum(1 for at in accepted if start <= at < stop), watched.ended_between(start, stop))
