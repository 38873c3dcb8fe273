"""A workflow run as pure rules: what becomes of the steps that wait when others end, and what the run ends as.

Each step counts in `pending` the parents that have not ended. When the last of them ends, the edges decide together
(`demanded`): the step fails if any of them says so, else it is skipped if any says so, else it is due. A step that
fails or is skipped has ended, so the rule goes on through the graph, without any job being made. It never matters in
which order parents end.

A run fails if a failure is nobody's business: a step that did not succeed and has a child by an edge `fail`, or no
child at all. Edges `skip`, `continue` and `always` say that somebody reckoned with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum, StrEnum

import msgspec
from jobyard_common.contracts.jobs import JobState
from jobyard_common.contracts.references import Source, references_of
from jobyard_common.contracts.workflows import Graph, Policy, Step


class StepState(StrEnum):
    """`due` may start and has no job yet; `active` has one that has not ended, or items of which some have not."""

    WAITING = "waiting"
    DUE = "due"
    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SKIPPED = "skipped"


ENDED = frozenset({StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED, StepState.EXPIRED, StepState.SKIPPED})
_OF_JOB = {
    JobState.SUCCEEDED: StepState.SUCCEEDED,
    JobState.FAILED: StepState.FAILED,
    JobState.CANCELLED: StepState.CANCELLED,
    JobState.EXPIRED: StepState.EXPIRED,
}


class RunState(StrEnum):
    """`starting`: stored, its steps are not laid out yet."""

    STARTING = "starting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


RUN_ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})


class Demand(IntEnum):
    """What edges want of a step, the strongest counts."""

    RUN = 0
    SKIP = 1
    FAIL = 2


class StepRow(msgspec.Struct):
    """A row of `workflow_step`. `open` and `bad` count the items of a fan-out that have not ended, or ended badly."""

    no: int
    state: StepState
    reason: str | None = None
    pending: int = 0
    demand: int = 0
    job_id: str | None = None
    total: int | None = None
    open: int = 0
    bad: int = 0
    error: str | None = None


class Plan:
    """The unchanging half of a run: its graph, by number."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps: tuple[Step, ...] = graph.steps
        self.number: dict[str, int] = {step.name: no for no, step in enumerate(graph.steps)}
        self.children: list[list[tuple[int, Policy]]] = [[] for _ in graph.steps]
        for no, step in enumerate(graph.steps):
            for edge in step.edges:
                self.children[self.number[edge.step]].append((no, edge.policy))
        self._sources: dict[int, frozenset[tuple[str, Source]]] = {}
        self._templates: dict[int, object] = {}

    def sources(self, no: int) -> frozenset[tuple[str, Source]]:
        """(step, what of it) that a step's parameters, files and list refer to."""
        found = self._sources.get(no)
        if found is None:
            step = self.steps[no]
            listed = msgspec.json.decode(step.for_each) if step.for_each is not None else None
            tree = [self.template(no), step.files, listed]
            named = {(ref.step, ref.source) for ref in references_of(tree) if ref.step is not None}
            found = self._sources[no] = frozenset(named)
        return found

    def template(self, no: int) -> object:
        """The parameters of a step as a tree with references, None if there are none in it."""
        if no not in self._templates:
            text = bytes(self.steps[no].parameters or b"{}")
            self._templates[no] = msgspec.json.decode(text) if b"${" in text else None
        return self._templates[no]

    def minded(self, no: int) -> bool:
        """Whether the run fails when this step does not succeed."""
        return not self.children[no] or any(policy is Policy.FAIL for _, policy in self.children[no])

    def circle(self) -> list[str]:
        """Names of steps that wait for themselves, or for such steps; empty if there are none."""
        waits = [len(step.after) for step in self.steps]
        todo = [no for no, count in enumerate(waits) if count == 0]
        while todo:
            for child, _ in self.children[todo.pop()]:
                waits[child] -= 1
                if waits[child] == 0:
                    todo.append(child)
        return [step.name for step, count in zip(self.steps, waits, strict=True) if count]

    def after(self, numbers: Iterable[int]) -> set[int]:
        """These steps and all that follow from them."""
        found: set[int] = set()
        todo = list(numbers)
        while todo:
            no = todo.pop()
            if no not in found:
                found.add(no)
                todo += [child for child, _ in self.children[no]]
        return found


def state_of_job(state: JobState) -> StepState:
    """The state of a step whose job ended so; a job that has not ended leaves it active."""
    return _OF_JOB.get(state, StepState.ACTIVE)


def demanded(policy: Policy, parent: StepState) -> Demand:
    """What an edge wants of its child now that the parent ended in `parent`."""
    if parent is StepState.SUCCEEDED or policy is Policy.ALWAYS:
        return Demand.RUN
    if parent is StepState.SKIPPED:
        return Demand.SKIP
    if policy is Policy.CONTINUE:
        return Demand.RUN
    return Demand.SKIP if policy is Policy.SKIP else Demand.FAIL


class Spread(msgspec.Struct):
    """What follows from ends: rows that changed, steps that are due now, and the balance of the run."""

    changed: dict[int, StepRow] = {}
    due: list[int] = []
    ended: int = 0
    failures: int = 0


def spread(plan: Plan, rows: Mapping[int, StepRow], ended: Iterable[int], *, cancelling: bool) -> Spread:
    """Let the ends of steps work on those that wait for them. The rows of `ended` show their end already.

    `rows` must hold the children of `ended`, and of those that `cascades` the whole graph.
    """
    found = Spread()
    todo = list(ended)
    while todo:
        no = todo.pop()
        row = rows[no]
        found.changed[no] = row
        found.ended += 1
        if row.state not in (StepState.SUCCEEDED, StepState.SKIPPED) and plan.minded(no):
            found.failures += 1
        for child_no, policy in plan.children[no]:
            child = rows[child_no]
            if child.state is not StepState.WAITING:
                continue
            found.changed[child_no] = child
            child.pending -= 1
            child.demand = max(child.demand, demanded(policy, row.state))
            if child.pending == 0 and _decide(child, cancelling=cancelling):
                todo.append(child_no)
            elif child.pending == 0:
                found.due.append(child_no)
    return found


def cascades(plan: Plan, rows: Mapping[int, StepRow], ended: Iterable[int], *, cancelling: bool) -> bool:
    """Whether the ends of these steps may end others, too, so that more than their children is needed."""
    for no in ended:
        bad = cancelling or rows[no].state is not StepState.SUCCEEDED
        for child, _ in plan.children[no]:
            if rows[child].state is StepState.WAITING and (bad or rows[child].demand > 0):
                return True
    return False


def _decide(row: StepRow, *, cancelling: bool) -> bool:
    """All parents have ended: whether that ends the step, too."""
    if cancelling:
        row.state, row.reason = StepState.CANCELLED, "user"
    elif row.demand == Demand.FAIL:
        row.state, row.reason = StepState.FAILED, "dependency_failed"
    elif row.demand == Demand.SKIP:
        row.state, row.reason = StepState.SKIPPED, "dependency_failed"
    else:
        row.state = StepState.DUE
        return False
    return True


def fan_in(row: StepRow) -> bool:
    """Whether the last item of a fan-out has ended; the step then has, too."""
    if row.open > 0:
        return False
    row.state = StepState.FAILED if row.bad else StepState.SUCCEEDED
    row.reason = "error" if row.bad else None
    return True


def end_of_run(*, cancelling: bool, failures: int) -> RunState:
    if cancelling:
        return RunState.CANCELLED
    return RunState.FAILED if failures else RunState.SUCCEEDED
