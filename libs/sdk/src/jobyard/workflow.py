"""A workflow written in Python: steps, what they wait for, and what they hand on. It only makes a JSON document.

from jobyard.workflow import ITEM, Workflow

flow = Workflow("nightly", input={"day": "today"})
parts = flow.step("list", "table.parts", parameters={"day": flow.given["day"]})
each = flow.map("profile", "table.profile", over=parts.result["names"], parameters={"name": ITEM})
report = flow.step("report", "table.report", parameters={"all": each.result})
cleanup = flow.step("cleanup", "table.clean", after=[report.on_failure("always")])

client.runs.start(flow, input={"day": "2026-11-22"})
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

Policy = Literal["fail", "skip", "continue", "always"]


class Reference:
    """A value that is known when the run comes so far. `ref["name"]` and `ref[0]` lead into it.

    As a whole value it keeps its type; inside a text, by `f"{ref}"`, it becomes text.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __getitem__(self, part: str | int) -> Reference:
        if isinstance(part, int):
            return Reference(f"{self._path}[{part}]")
        if part.replace("_", "a").replace("-", "a").isalnum() and part.isascii() and not part[0].isdigit():
            return Reference(f"{self._path}.{part}" if part[0] != "-" else f'{self._path}["{part}"]')
        return Reference(f'{self._path}["{part}"]')

    def __iter__(self) -> Any:
        raise TypeError(f"{self} is not known yet; use map() for one job an item")

    def __str__(self) -> str:
        return f"${{{self._path}}}"

    def __repr__(self) -> str:
        return f"<Reference {self}>"


ITEM = Reference("item")
"""The item of a `map` step's job."""
INDEX = Reference("index")
"""Its number, from 0."""


class Edge:
    """To wait for a step, with a word on what its failure means."""

    def __init__(self, step: Step, policy: Policy) -> None:
        self.step = step
        self.policy = policy


class Step:
    """One step of a workflow. `a >> b` makes b wait for a; `a >> [b, c]` both."""

    def __init__(self, name: str, document: dict[str, Any]) -> None:
        self.name = name
        self.document = document

    @property
    def result(self) -> Reference:
        """The value of its job; of a `map` step the list of them, in the order of the items."""
        return Reference(f"steps.{self.name}.result")

    @property
    def state(self) -> Reference:
        return Reference(f"steps.{self.name}.state")

    @property
    def job_id(self) -> Reference:
        return Reference(f"steps.{self.name}.job_id")

    def file(self, name: str) -> Reference:
        """The id of an output file."""
        return Reference(f"steps.{self.name}.files.{name}")

    def on_failure(self, policy: Policy) -> Edge:
        """For `after`: what the waiting step does if this one does not succeed."""
        return Edge(self, policy)

    def wait_for(self, *others: Step | Edge) -> Step:
        """Wait for more steps."""
        for other in others:
            edge = other if isinstance(other, Edge) else Edge(other, "fail")
            self.document.setdefault("after", []).append({"step": edge.step.name, "policy": edge.policy})
        return self

    def __rshift__(self, other: Step | Sequence[Step]) -> Step | Sequence[Step]:
        for one in [other] if isinstance(other, Step) else other:
            one.wait_for(self)
        return other

    def __rrshift__(self, others: Sequence[Step]) -> Step:
        return self.wait_for(*others)


class Workflow:
    """A graph of steps. `input` holds defaults of what a run may be given; `given["x"]` refers to it."""

    def __init__(self, name: str, *, description: str = "", input: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.description = description
        self.given = Reference("input")
        self._input = dict(input or {})
        self._steps: dict[str, Step] = {}

    def step(
        self,
        name: str,
        tool: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        files: Mapping[str, Any] | None = None,
        after: Iterable[Step | Edge] = (),
        **options: Any,
    ) -> Step:
        """One job. A reference to another step in `parameters` or `files` makes it wait for that step.

        `options`: `queue`, `priority`, `delay_s`, `ttl_s`, `timeout_s`, `soft_timeout_s`, `retry`, `fairness_key`,
        `concurrency_key`, `tags`, `metadata`. Raises ValueError for a name that is taken.
        """
        if name in self._steps:
            raise ValueError(f"the workflow {self.name!r} has a step {name!r} already")
        document: dict[str, Any] = {"name": name, "tool": tool}
        if parameters:
            document["parameters"] = _plain(parameters)
        if files:
            document["files"] = _plain(files)
        document |= {key: _plain(value) for key, value in options.items() if value is not None}
        found = self._steps[name] = Step(name, document)
        return found.wait_for(*after)

    def map(self, name: str, tool: str, *, over: Reference | Sequence[Any], **more: Any) -> Step:
        """One job for each item of a list, at most 10,000; `ITEM` and `INDEX` name it in `parameters`."""
        step = self.step(name, tool, **more)
        step.document["for_each"] = _plain(over)
        return step

    @property
    def graph(self) -> dict[str, Any]:
        """The graph as `POST /v1/workflow-runs` takes it."""
        found: dict[str, Any] = {"steps": [dict(step.document) for step in self._steps.values()]}
        return found | ({"input": _plain(self._input)} if self._input else {})

    @property
    def document(self) -> dict[str, Any]:
        """The workflow as `POST /v1/workflows` takes it."""
        return {"name": self.name, "description": self.description, **self.graph}


def _plain(value: Any) -> Any:
    if isinstance(value, Reference):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
