"""Workflows on the wire: a graph of steps, and the commands that start, cancel and repeat its runs."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from jobyard_common.contracts.jobs import Actor, empty_object
from jobyard_common.contracts.wire import OptionalRaw

MAX_STEPS = 10_000
MAX_EDGES = 100_000
MAX_ITEMS = 10_000
MAX_RUN_JOBS = 100_000
MAX_COMMAND_BYTES = 900_000
MAX_GRAPH_BYTES = 4 * 1024 * 1024
MAX_INPUT_BYTES = 256 * 1024


class Policy(StrEnum):
    """What a step does when the parent at the other end of an edge did not succeed.

    `fail`: it fails, too. `skip`: it is skipped. `continue`: it runs, but is skipped if the parent was skipped.
    `always`: it runs whatever became of the parent.
    """

    FAIL = "fail"
    SKIP = "skip"
    CONTINUE = "continue"
    ALWAYS = "always"


class Edge(msgspec.Struct, frozen=True, omit_defaults=True):
    """The step waits for `step`."""

    step: str
    policy: Policy = Policy.FAIL


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step: a job, or with `for_each` one job for each item of a list.

    `tool` is `name` or `name@version`; `parameters` is JSON text with references, byte-true; `for_each` a JSON list or
    a reference to one. `retry` holds the members that differ from the tool's. Durations are seconds.
    """

    name: str
    tool: str
    parameters: OptionalRaw = None
    files: dict[str, str] = msgspec.field(default_factory=dict)
    after: tuple[str | Edge, ...] = ()
    for_each: OptionalRaw = None
    queue: str | None = None
    priority: int | None = None
    delay_s: float | None = None
    ttl_s: float | None = None
    timeout_s: float | None = None
    soft_timeout_s: float | None = None
    retry: dict[str, Any] = msgspec.field(default_factory=dict)
    fairness_key: str | None = None
    concurrency_key: str | None = None
    tags: tuple[str, ...] = ()
    metadata: OptionalRaw = None

    @property
    def edges(self) -> tuple[Edge, ...]:
        """`after` with every edge written out: a plain name has the policy `fail`."""
        return tuple(Edge(edge) if isinstance(edge, str) else edge for edge in self.after)


class Graph(msgspec.Struct, frozen=True, omit_defaults=True):
    """Steps in the order of their author, checked: no circle, every edge that a reference implies is written out.

    `input` holds defaults of the run's input.
    """

    steps: tuple[Step, ...]
    input: msgspec.Raw = msgspec.field(default_factory=empty_object)


START_RUN = "jobyard.workflow_run.start.v1"
CANCEL_RUN = "jobyard.workflow_run.cancel.v1"
RETRY_RUN = "jobyard.workflow_run.retry.v1"


class StartRun(msgspec.Struct, frozen=True, omit_defaults=True):
    """Make the run `run_id` of a stored workflow (its id, `name` or `name@version`) or of the graph given here."""

    command_id: str
    run_id: str
    tenant: str
    actor: Actor
    accepted_at: datetime
    workflow: str | None = None
    graph: OptionalRaw = None
    name: str = ""
    input: msgspec.Raw = msgspec.field(default_factory=empty_object)
    keyed: bool = False
    body_hash: str = ""


class CancelRun(msgspec.Struct, frozen=True):
    command_id: str
    run_id: str
    tenant: str
    actor: Actor


class RetryRun(msgspec.Struct, frozen=True, omit_defaults=True):
    """Run a finished run again as `new_run_id`.

    `steps` and all that follow them run anew, what succeeded otherwise is kept; without `steps` those begin that did
    not succeed. `whole` keeps nothing, and may take another `input`.
    """

    command_id: str
    run_id: str
    tenant: str
    actor: Actor
    new_run_id: str
    accepted_at: datetime
    steps: tuple[str, ...] = ()
    whole: bool = False
    input: OptionalRaw = None
