"""Steps that are due become jobs: their references are resolved, and their lists are laid out as items.

What cannot be resolved is a failure of the step that asked for it, said in its error; nothing is raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from jobyard_common.contracts.ids import is_id, new_id
from jobyard_common.contracts.jobs import EMPTY_OBJECT, Actor, SubmitJob
from jobyard_common.contracts.references import Lookup, Unresolved, resolved
from jobyard_common.contracts.workflows import MAX_ITEMS, MAX_RUN_JOBS, Step
from jobyard_common.db.connection import Connection

from jobyard_executor.domain.run_memory import TOOLS_S
from jobyard_executor.domain.step_spec import MAX_PARAMETERS_BYTES, pinned, step_spec
from jobyard_executor.domain.workflow import Plan, StepRow, StepState
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.step_values import Values
from jobyard_executor.handlers.submit import Submitted
from jobyard_executor.store import runs, workflow_tools

LONG = 1000
_encode = msgspec.json.Encoder().encode
_actor = msgspec.json.Decoder(Actor).decode


class Refused(Exception):
    """A step cannot become a job; `code` and the message go into its error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def text(self) -> str:
        return _encode({"code": self.code, "message": str(self)[:2000]}).decode()


class Births:
    """Births of one run in one transaction. `submits` are to be submitted after everything else was saved."""

    def __init__(
        self,
        engine: Engine,
        connection: Connection,
        run: runs.Run,
        plan: Plan,
        *,
        values: Values,
        apart: bool,
    ) -> None:
        self._engine = engine
        self._apart = apart
        self._connection = connection
        self._run = run
        self._plan = plan
        self._values = values
        self._items: list[tuple[int, int, str, str | None, str | None, str | None]] = []
        self.submits: list[Submitted] = []

    async def begin(self, rows: Sequence[StepRow], *, room: int) -> int:
        """Begin due steps, as many as `room` jobs allow; returns how many jobs may still be made.

        A row left `due` waits for another page. A row that ended could not be begun, or had an empty list.
        """
        await know_tools(self._engine, self._connection)
        await self._values.load(row.no for row in rows)
        for row in rows:
            step = self._plan.steps[row.no]
            if step.for_each is not None:
                await self._lay_out(row, step)
            elif room > 0:
                room -= 1
                self._begin(row, step)
        return room

    async def begin_items(self, rows: dict[int, StepRow], items: Iterable[tuple[int, int, str]]) -> None:
        """Begin due items (step, item, value) of the fan-outs in `rows`; those that cannot are counted as bad there."""
        await know_tools(self._engine, self._connection)
        found = list(items)
        await self._values.load({no for no, _, _ in found})
        for no, n, value in found:
            row = rows[no]
            try:
                lookup = self._values.lookup(item=msgspec.json.decode(value), index=n)
                job_id = self._submit(row.no, n, lookup)
                self._items.append((no, n, StepState.ACTIVE.value, None, job_id, None))
            except Refused as refused:
                row.open -= 1
                row.bad += 1
                self._run.jobs_open -= 1
                self._items.append((no, n, StepState.FAILED.value, "rejected", None, refused.text))
        await runs.begin_items(self._connection, self._run.run_id, self._items)
        self._items = []

    def _begin(self, row: StepRow, step: Step) -> None:
        try:
            row.job_id = self._submit(row.no, None, self._values.lookup())
        except Refused as refused:
            row.state, row.reason, row.error = StepState.FAILED, "rejected", refused.text
            return
        row.state = StepState.ACTIVE
        self._run.jobs += 1
        self._run.jobs_open += 1

    async def _lay_out(self, row: StepRow, step: Step) -> None:
        """The items of a fan-out, due. An empty list is a success without a job, a long one waits for its own page."""
        try:
            items = self._list_of(row.no, step)
        except Refused as refused:
            row.state, row.reason, row.error = StepState.FAILED, "rejected", refused.text
            return
        if len(items) > LONG and not self._apart:
            return
        row.total = row.open = len(items)
        row.state = StepState.ACTIVE if items else StepState.SUCCEEDED
        self._run.jobs += len(items)
        self._run.jobs_open += len(items)
        if items:
            texts = [_encode(item).decode() for item in items]
            await self._connection.execute(runs.ADD_ITEMS, self._run.run_id, row.no, texts)

    def _list_of(self, no: int, step: Step) -> list[object]:
        assert step.for_each is not None
        try:
            items = resolved(msgspec.json.decode(step.for_each), self._values.lookup())
        except (Unresolved, RecursionError) as error:
            raise Refused("unresolved_reference", str(error)) from None
        if not isinstance(items, list):
            raise Refused("no_list", f"for_each of {step.name!r} is no list.")
        if len(items) > MAX_ITEMS:
            text = f"for_each of {step.name!r} has {len(items):,} items, at most {MAX_ITEMS:,}."
            raise Refused("too_many_items", text)
        if self._run.jobs + len(items) > MAX_RUN_JOBS:
            raise Refused("too_many_jobs", f"A run has at most {MAX_RUN_JOBS:,} jobs.")
        return items

    def _submit(self, no: int, item: int | None, lookup: Lookup) -> str:
        step, run, now = self._plan.steps[no], self._run, self._engine.clock.now()
        memory = self._engine.run_memory
        definition = pinned(step.tool, memory.tools, alive=memory.alive)
        if definition is None:
            raise Refused("unknown_tool", f"No executor knows the tool {step.tool}.")
        job_id = new_id("job", cell=self._engine.cell)
        spec = step_spec(
            step,
            definition,
            parameters=self._parameters(no, lookup),
            files=_files(step, lookup),
            now=now,
            routes=memory.routes,
        )
        command = SubmitJob(
            command_id=f"cmd_{job_id[4:]}",
            job_id=job_id,
            tenant=run.tenant,
            actor=_actor(run.actor),
            accepted_at=now,
            spec=spec,
        )
        place = f"{run.run_id}:{no}:{'' if item is None else item}"
        self.submits.append(Submitted(command, run.correlation_id, run.traceparent, made_by="workflow", place=place))
        return job_id

    def _parameters(self, no: int, lookup: Lookup) -> msgspec.Raw:
        template = self._plan.template(no)
        if template is None:
            return self._plan.steps[no].parameters or EMPTY_OBJECT
        try:
            text = _encode(resolved(template, lookup))
        except Unresolved as error:
            raise Refused("unresolved_reference", str(error)) from None
        except (RecursionError, ValueError) as error:
            raise Refused("unresolved_reference", f"The parameters cannot be written: {error}") from None
        if len(text) > MAX_PARAMETERS_BYTES:
            raise Refused(
                "parameters_too_large",
                f"The parameters are {len(text):,} bytes and may have {MAX_PARAMETERS_BYTES:,}; "
                "leave large results in output files and hand those on.",
            )
        return msgspec.Raw(text)


async def know_tools(engine: Engine, connection: Connection) -> None:
    memory, now = engine.run_memory, engine.clock.monotonic()
    if now < memory.tools_until:
        return
    memory.tools = await workflow_tools.definitions(connection)
    memory.alive = await workflow_tools.alive(connection)
    memory.routes = await workflow_tools.routes(connection)
    memory.tools_until = now + TOOLS_S


def _files(step: Step, lookup: Lookup) -> dict[str, str]:
    """Slots and file ids; a slot whose reference means nothing stays empty."""
    found = {}
    for slot, text in step.files.items():
        try:
            value = resolved(text, lookup)
        except Unresolved as error:
            raise Refused("unresolved_reference", str(error)) from None
        if value is None:
            continue
        if not isinstance(value, str) or not is_id("file", value):
            raise Refused("no_file", f"What the slot {slot!r} of {step.name!r} refers to is no file.")
        found[slot] = value
    return found


def place_of(text: str) -> tuple[str, int, int | None]:
    """Run, step and item of a job that belongs to a run."""
    run_id, no, item = text.split(":")
    return run_id, int(no), int(item) if item else None
