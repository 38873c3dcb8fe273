"""What the references of a run mean: its input, and what the steps before have left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from jobyard_common.contracts.references import Lookup, Reference, Source, Unresolved, follow
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.workflow import Plan, StepRow, StepState
from jobyard_executor.store import runs

MAX_RESULTS_BYTES = 1024 * 1024
"""Results of a fan-out that are read together."""


class _File(msgspec.Struct):
    file_id: str
    name: str


class _Left(msgspec.Struct):
    """What a step left. For a fan-out the lists are in the order of its items."""

    row: StepRow
    job_ids: list[str | None]
    values: list[object] = []
    files: list[dict[str, str]] = []
    refusal: str | None = None


_files = msgspec.json.Decoder(list[_File])


class Values:
    """Values of one run within one transaction; `load` before `lookup`. `known` are rows newer than the stored ones."""

    def __init__(
        self, connection: Connection, run_id: str, plan: Plan, given: object, *, known: Mapping[int, StepRow]
    ) -> None:
        self._connection = connection
        self._run_id = run_id
        self._plan = plan
        self._given = given
        self._known = known
        self._left: dict[int, _Left] = {}

    async def load(self, numbers: Iterable[int]) -> None:
        """Read what these steps refer to."""
        wanted: dict[int, set[Source]] = {}
        for no in set(numbers):
            for step, source in self._plan.sources(no):
                wanted.setdefault(self._plan.number[step], set()).add(source)
        fresh = [no for no in wanted if no not in self._left]
        if not fresh:
            return
        unread = [no for no in fresh if no not in self._known]
        rows = await runs.steps(self._connection, self._run_id, unread) if unread else {}
        rows |= {no: self._known[no] for no in fresh if no in self._known}
        jobs: dict[int, list[str | None]] = {no: [row.job_id] for no, row in rows.items() if row.total is None}
        fans = [no for no, row in rows.items() if row.total is not None]
        for no in fans:
            jobs[no] = []
        if fans:
            for found in await self._connection.fetch(runs.ITEM_JOBS, self._run_id, fans):
                good = found["state"] == StepState.SUCCEEDED
                jobs[found["no"]].append(found["job_id"] if good else None)
        for no, row in rows.items():
            self._left[no] = await self._read(row, jobs[no])

    async def _read(self, row: StepRow, job_ids: list[str | None]) -> _Left:
        left = _Left(row, job_ids)
        known = [job_id for job_id in job_ids if job_id is not None]
        if row.total is not None and await self._connection.fetchval(runs.SIZES, known) > MAX_RESULTS_BYTES:
            left.refusal = (
                f"the results of all items are larger than {MAX_RESULTS_BYTES // 1024} KiB together; "
                "leave large results in output files"
            )
            return left
        found = {one["job_id"]: one for one in await self._connection.fetch(runs.RESULTS, known)}
        for job_id in job_ids:
            one = found.get(job_id) if job_id is not None else None
            value = one["value"] if one is not None else None
            try:
                left.values.append(None if value is None else msgspec.json.decode(value))
            except (msgspec.DecodeError, RecursionError, ValueError):
                left.values.append(None)
                left.refusal = "the result is nested too deeply"
            files = _files.decode(one["files"]) if one is not None else []
            left.files.append({file.name: file.file_id for file in files})
        return left

    def lookup(self, *, item: object = None, index: int | None = None) -> Lookup:
        """What references mean for one job; the lookup raises Unresolved."""

        def value(reference: Reference) -> object:
            if reference.source is Source.INPUT:
                return follow(self._given, reference)
            if reference.source is Source.ITEM:
                return follow(item, reference)
            if reference.source is Source.INDEX:
                return index
            assert reference.step is not None
            return _of_step(self._left[self._plan.number[reference.step]], reference)

        return value


def _of_step(left: _Left, reference: Reference) -> object:
    row = left.row
    fan = row.total is not None
    if reference.source is Source.STATE:
        return row.state.value
    if reference.source is Source.JOB_ID:
        return left.job_ids if fan else row.job_id
    if left.refusal is not None:
        raise Unresolved(f"${{{reference}}}: {left.refusal}.")
    if reference.source is Source.FILES:
        name = str(reference.path[0])
        if fan:
            return [files.get(name) for files in left.files]
        if row.state is not StepState.SUCCEEDED:
            return None
        return follow(left.files[0], reference)
    if not fan and row.state is not StepState.SUCCEEDED:
        return None
    return follow(left.values if fan else left.values[0], reference)
