"""Jobs that this process made and that nobody has touched since: a claim need not read them back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from jobyard_common.contracts.jobs import JobSpec

from jobyard_executor.domain.job import Job

LARGEST = 4096
"""Characters of a spec that is worth its memory."""
FIRST_EVENT = 1
"""The event of a job's birth; each change counts on."""


class Newborn(msgspec.Struct, frozen=True, gc=False):
    """A job in the state of its birth, with its spec decoded."""

    job: Job
    spec: JobSpec


class Newborns:
    """Of the last births that were committed here, whatever became of them.

    Jobs leave by `take`. Those that another executor claimed stay until there are too many, and then all go.
    """

    def __init__(self, *, most: int = 20_000) -> None:
        self._most = most
        self._found: dict[str, Newborn] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, births: Iterable[Newborn]) -> None:
        """Remember jobs whose transaction has committed."""
        for birth in births:
            if len(birth.job.spec) > LARGEST:
                continue
            if len(self._found) >= self._most:
                self._found.clear()
            self._found[birth.job.job_id] = birth

    def know(self, job_ids: Sequence[str]) -> bool:
        """Whether most of these are remembered."""
        return sum(job_id in self._found for job_id in job_ids) * 2 > len(job_ids)

    def take(self, job_id: str, *, event_no: int, born_ms: int) -> Newborn | None:
        """Forget a job; returns it if its row is still that of this birth."""
        found = self._found.pop(job_id, None)
        if found is None or event_no != FIRST_EVENT or found.job.born_ms != born_ms:
            return None
        return found
