"""Runs go on in the transaction in which their jobs end: nobody polls, nobody looks later.

lock the runs → record the ends → let them work on the steps that wait → begin what is due → save → submit

Nothing of a run is kept between transactions but its plan. What is more than a page of new jobs is left `due`, and the
run is put on the list of those that go on by themselves (`handlers/go_on.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from jobyard_common.contracts.workflows import Graph
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.job import Job
from jobyard_executor.domain.workflow import (
    ENDED,
    RUN_ENDED,
    Plan,
    RunState,
    StepRow,
    StepState,
    cascades,
    end_of_run,
    fan_in,
    spread,
    state_of_job,
)
from jobyard_executor.handlers.bear_steps import Births, place_of
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.step_values import Values
from jobyard_executor.handlers.submit import submit_jobs
from jobyard_executor.store import runs

PAGE = 200
"""New jobs that a finish may make; more of them wait for a transaction of their own."""


class End(msgspec.Struct):
    """The job of a step (or of an item of it) has ended."""

    no: int
    item: int | None
    job_id: str
    state: StepState
    reason: str | None


async def advance_runs(engine: Engine, connection: Connection, ended: Sequence[Job]) -> bool:
    """What the ends of these jobs mean for their runs; returns whether a job became ready."""
    ends: dict[str, list[End]] = {}
    for job in ended:
        if job.place is not None:
            run_id, no, item = place_of(job.place)
            end = End(no, item, job.job_id, state_of_job(job.state), job.reason)
            ends.setdefault(run_id, []).append(end)
    born = False
    for run_id, run in (await runs.lock(connection, ends)).items():
        if run.state not in RUN_ENDED:
            advance = Advance(engine, connection, run, *await plan_of(engine, connection, run_id))
            await advance.record(ends[run_id])
            born |= await advance.close(room=PAGE)
    return born


async def plan_of(engine: Engine, connection: Connection, run_id: str) -> tuple[Plan, object]:
    """The plan of a run that was laid out, and its input."""
    found = engine.run_memory.plan(run_id)
    if found is None:
        graph, given = await runs.texts(connection, run_id)
        assert graph is not None
        found = Plan(msgspec.json.decode(graph, type=Graph)), msgspec.json.decode(given)
        engine.run_memory.keep(run_id, *found)
    return found


class Advance:
    """One run that this transaction has locked."""

    def __init__(
        self,
        engine: Engine,
        connection: Connection,
        run: runs.Run,
        plan: Plan,
        given: object,
        *,
        apart: bool = False,
        closed: frozenset[int] = frozenset(),
    ) -> None:
        """`apart`: the transaction does nothing else, so nobody waits while a long list is laid out. Steps in `closed`
        begin no job: there is no room for more of them in their queues."""
        self._engine = engine
        self._connection = connection
        self.run = run
        self._plan = plan
        self.rows: dict[int, StepRow] = {}
        self._changed: dict[int, StepRow] = {}
        self._ended: list[int] = []
        self._due: list[int] = []
        self._values = Values(connection, run.run_id, plan, given, known=self.rows)
        self._births = Births(engine, connection, run, plan, values=self._values, apart=apart)
        self._whole = False
        self._closed = closed
        self.later = False
        """Whether something is left for another page."""

    @property
    def born(self) -> list[str]:
        """The queues of the jobs that it made."""
        return [one.command.spec.queue for one in self._births.submits]

    @property
    def cancelling(self) -> bool:
        return self.run.state is RunState.CANCELLING

    async def record(self, ends: Sequence[End]) -> None:
        """Take in what ended. An end that is known already changes nothing."""
        items = [(e.no, e.item, e.job_id, e.state, e.reason) for e in ends if e.item is not None]
        over = await runs.end_items(self._connection, self.run.run_id, items) if items else []
        await self._load({end.no for end in ends})
        for no, state in over:
            self._count(self.rows[no], state)
        for end in ends:
            row = self.rows[end.no]
            if end.item is None and row.state is StepState.ACTIVE and row.job_id == end.job_id:
                row.state, row.reason = end.state, end.reason
                self.run.jobs_open -= 1
                self._end(row)
        self._fan_in({no for no, _ in over})

    def _count(self, row: StepRow, state: StepState) -> None:
        row.open -= 1
        row.bad += state is not StepState.SUCCEEDED
        self.run.jobs_open -= 1

    def _fan_in(self, numbers: set[int]) -> None:
        for no in numbers:
            row = self.rows[no]
            self._changed[no] = row
            if row.state is StepState.ACTIVE and fan_in(row):
                if self.cancelling and row.bad:
                    row.state, row.reason = StepState.CANCELLED, "user"
                self._end(row)

    def _end(self, row: StepRow) -> None:
        self._changed[row.no] = row
        self._ended.append(row.no)

    async def take_due(self, *, limit: int) -> None:
        """Steps that were left for later."""
        rows = await runs.due_steps(self._connection, self.run.run_id, limit=limit, but=self._closed)
        self._due += [self.rows.setdefault(no, row).no for no, row in rows.items()]
        self.later = len(rows) == limit

    def lay_out(self, rows: dict[int, StepRow]) -> None:
        """All steps of a run that begins; they are stored as they are."""
        self.rows.update(rows)
        self._whole = True
        self._due = [no for no, row in rows.items() if row.state is StepState.DUE]

    async def cancel_waiting(self) -> None:
        """End everything that has no job yet."""
        await self._load_all()
        for row in self.rows.values():
            if row.state in (StepState.WAITING, StepState.DUE):
                row.state, row.reason = StepState.CANCELLED, "user"
                self._changed[row.no] = row
                self.run.steps_open -= 1
        touched = set()
        for found in await self._connection.fetch(runs.CANCEL_ITEMS, self.run.run_id):
            self._count(self.rows[found["no"]], StepState.CANCELLED)
            touched.add(found["no"])
        self._fan_in(touched)

    async def close(self, *, room: int) -> bool:
        """Work until nothing follows any more, save all of it, submit what was born; returns whether there is any."""
        while self._ended or self._due:
            await self._spread()
            await self._begin(room - len(self._births.submits))
        await runs.save_steps(self._connection, self.run.run_id, self._changed.values())
        if self.run.steps_open <= 0:
            self.run.state = end_of_run(cancelling=self.cancelling, failures=self.run.failures)
            self.run.finished_at = max(self._engine.clock.now(), self.run.created_at)
            self._engine.run_memory.plans.pop(self.run.run_id, None)
        await runs.save(self._connection, self.run)
        if self.later:
            await runs.put_todo(self._connection, [self.run.run_id])
            self._engine.wake_runs()
        await submit_jobs(self._engine, self._connection, self._births.submits)
        return bool(self._births.submits)

    async def _spread(self) -> None:
        ended, self._ended = self._ended, []
        if not ended:
            return
        await self._load({child for no in ended for child, _ in self._plan.children[no]})
        if cascades(self._plan, self.rows, ended, cancelling=self.cancelling):
            await self._load_all()
        found = spread(self._plan, self.rows, ended, cancelling=self.cancelling)
        self._changed |= found.changed
        self._due += found.due
        self.run.steps_open -= found.ended
        self.run.failures += found.failures

    async def _begin(self, room: int) -> None:
        """Begin what is due, as far as there is room."""
        due, self._due = [self.rows[no] for no in self._due if no not in self._closed], []
        if not due:
            return
        for row in due:
            self._changed[row.no] = row
        room = await self._births.begin(due, room=room)
        for row in due:
            if row.state in ENDED:
                self._end(row)
        self.later |= any(row.state is StepState.DUE for row in due)
        if any(row.total is not None and row.state is StepState.ACTIVE for row in due):
            await self.begin_items(room=room)

    async def begin_items(self, *, room: int) -> None:
        """Begin items that are due, as far as there is room."""
        if room <= 0:
            self.later = True
            return
        found = await self._connection.fetch(runs.DUE_ITEMS, self.run.run_id, room, list(self._closed))
        await self._load({row["no"] for row in found})
        await self._births.begin_items(self.rows, [(row["no"], row["n"], row["value"]) for row in found])
        self._fan_in({row["no"] for row in found})
        self.later |= len(found) == room

    async def _load(self, numbers: set[int]) -> None:
        missing = [no for no in numbers if no not in self.rows]
        if missing and not self._whole:
            self.rows.update(await runs.steps(self._connection, self.run.run_id, missing))

    async def _load_all(self) -> None:
        """Every step; those that were read before stay as they are."""
        if not self._whole:
            found = await runs.all_steps(self._connection, self.run.run_id)
            for no, row in found.items():
                self.rows.setdefault(no, row)
            self._whole = True
