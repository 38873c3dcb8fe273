"""What a batch of events tells of each job."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from jobyard_monitor.domain.wire import ObservedJob


class Observed(msgspec.Struct, frozen=True, gc=False):
    """An event with what its envelope adds. `verb` is `started` of `jobyard.job.started.v1`."""

    at: datetime
    verb: str
    event: ObservedJob

    @property
    def number(self) -> tuple[int, int]:
        return self.event.incarnation, self.event.event_no


def stories(rows: Iterable[Observed]) -> list[list[Observed]]:
    """The events of each job in their order, each once, sorted by job: the order in which rows are locked."""
    found: dict[str, list[Observed]] = {}
    for row in rows:
        job_id = row.event.job.id
        known = found.get(job_id)
        if known is None:
            found[job_id] = [row]
        elif known[-1].number < row.number:
            known.append(row)
        else:
            found[job_id] = _in_order([*known, row])
    return [found[job_id] for job_id in sorted(found)]


def _in_order(story: list[Observed]) -> list[Observed]:
    once = {row.number: row for row in reversed(story)}
    return [once[number] for number in sorted(once)]
