"""One chaos run: stage, calibration, load with faults, quiet, verdict.

`python -m tests.chaos --minutes 10 --seed 7` prints the row of the table in docs/reliability.md; the exit code is 1
if an invariant was broken. The same seed gives the same plan.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import checker, facts, plan, watch
from tests.chaos.checker import Breach, Run
from tests.chaos.driver import Driver
from tests.chaos.faults import Faults
from tests.chaos.journal import Account, Journal, account, read
from tests.chaos.poison import poison
from tests.chaos.report import Report, recovery_of
from tests.chaos.stage import SERVICES, STEPPING, Stage
from tests.chaos.uploads import Uploads
from tests.support.cast import Kept

SHARE_OF_CAPACITY = 0.3
LEAST_RATE, MOST_RATE = 5.0, 60.0
SETTLE_S = 60.0
FOR_GOOD = ("I2", "I4", "I5", "I6", "I8", "I10", "I12", "I14", "I15")
"""Breaches that no waiting heals."""


@dataclass(frozen=True)
class Verdict:
    report: Report
    breaches: list[Breach]


async def chaos(home: Path, *, minutes: float, seed: int, calibrate_s: float = 5.0) -> Verdict:
    """Everything lives below `home`; nothing is left running."""
    stage = Stage(home)
    try:
        await stage.up()
        return await _play(stage, minutes=minutes, seed=seed, calibrate_s=calibrate_s)
    finally:
        await stage.down()


async def _play(stage: Stage, *, minutes: float, seed: int, calibrate_s: float) -> Verdict:
    bursts = plan.bursts_in(minutes)
    wanted = plan.make_plan(
        seed, bursts=bursts, services=SERVICES, small_disk=stage.disk is not None, clocks=[STEPPING]
    )
    journal = Journal(stage.home / "journal.ndjson")
    marks = stage.home / "marks.ndjson"
    marks.touch()
    driver, uploads = Driver(stage, journal, marks=marks, seed=seed), Uploads(stage, journal, seed=seed)
    capacity = await driver.calibrate(seconds=calibrate_s)
    rate = min(MOST_RATE, max(LEAST_RATE, SHARE_OF_CAPACITY * capacity))
    print(f"seed {seed}: {len(wanted)} faults in {bursts} bursts, {rate:.0f} jobs/s of {capacity:.0f}", flush=True)

    faults, watched = Faults(stage, stage.home / "faults.ndjson"), watch.Watch(stage)
    began = asyncio.get_running_loop().time()
    side = [
        asyncio.create_task(watched.run()),
        asyncio.create_task(uploads.run(every_s=3)),
        asyncio.create_task(poison(stage, journal, seed=seed, every_s=50 / rate)),
    ]
    await asyncio.gather(driver.run(rate, until=began + plan.length_s(bursts)), faults.play(wanted, began=began))
    await driver.finish(timeout_s=30)
    await uploads.finish(timeout_s=10)
    await watch.all_ended(stage, timeout_s=SETTLE_S)
    await _cancel(side)

    recoveries = [
        recovery_of(driver.accepted, watched, rate=rate, end=began + end, quiet_s=plan.QUIET_S)
        for _, end in plan.windows(bursts)
    ]
    told = account(read(stage.home / "journal.ndjson"))
    found, breaches = await _until_sound(stage, told, faults, watched, [one.share for one in recoveries], marks)
    journal.close()
    report = Report(
        seed=seed,
        minutes=minutes,
        counts=dict(faults.counts),
        submitted=driver.submitted,
        accepted=len(told.promised),
        lost=checker.lost(breaches),
        twice=checker.recorded_twice(breaches),
        breaches=len(breaches),
        rate=rate,
        recoveries=recoveries,
        ends=Counter(f"{job.state}/{job.reason or '-'}" for job in found.jobs.values()),
    )
    return Verdict(report, breaches)


async def _until_sound(
    stage: Stage, told: Account, faults: Faults, watched: watch.Watch, shares: list[float], marks: Path
) -> tuple[facts.Facts, list[Breach]]:
    """Projections, dead letters and outboxes get a while to follow; then what is still wrong is wrong."""
    foreign = await watch.foreign_reads(stage, sorted(told.ids)[:10])
    run = Run(
        spells=faults.spells,
        most_at_once=dict(watched.most),
        foreign=foreign,
        leaks=watch.leaks(stage.home, [stage.key, stage.cast.token]),
        recoveries=shares,
        gave_up=[name for name, kept in stage.kept.items() if not await _back(kept)],
    )
    deadline = time.monotonic() + SETTLE_S
    while True:
        found = await facts.gather(stage.ground, marks=marks, blobs=stage.data("files-1") / "blobs")
        breaches = checker.check(told, found, run)
        if all(breach.invariant in FOR_GOOD for breach in breaches) or time.monotonic() > deadline:
            return found, breaches
        await asyncio.sleep(1)


async def _back(kept: Kept) -> bool:
    """Whether it serves, by itself, before long."""
    deadline = time.monotonic() + SETTLE_S / 2
    while not await kept.answers():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.2)
    return True


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
