"""A workflow's graph as people send it: its shape, and all that is wrong with one, at once.

What is checked here needs nobody else: names, edges, circles, references and tools. A reference to a step is an edge
by itself; the graph that goes on to the executor has all of them written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from jobyard_common.contracts.ids import is_id
from jobyard_common.contracts.jobs import EMPTY_OBJECT
from jobyard_common.contracts.references import STEP_NAME, BadReference, Reference, Source, parts_of, walk
from jobyard_common.contracts.wire import OptionalRaw
from jobyard_common.contracts.workflows import MAX_EDGES, MAX_ITEMS, MAX_STEPS, Edge, Graph, Policy, Step
from msgspec import Meta

from jobyard_gateway.domain.circles import in_circles
from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.submission import TEN_YEARS_S, Name, QueueName, RetryOptions, Seconds, Timeout, shape_faults
from jobyard_gateway.domain.tools import Registry

MAX_FAULTS = 100
MAX_PARAMETERS_BYTES = 256 * 1024
_ABOUT_NAMES = frozenset({"This parameter is required.", "Unknown parameter.", "This file is required."})


class EdgeDocument(msgspec.Struct, forbid_unknown_fields=True):
    step: str
    policy: Policy = Policy.FAIL


class StepDocument(msgspec.Struct, forbid_unknown_fields=True):
    """One step as it is sent; an edge may be just the name of the step to wait for."""

    name: str
    tool: Annotated[str, Meta(min_length=1, max_length=256)]
    parameters: msgspec.Raw = EMPTY_OBJECT
    files: Annotated[dict[Name, Annotated[str, Meta(max_length=1024)]], Meta(max_length=100)] = {}
    after: Annotated[list[str | EdgeDocument], Meta(max_length=MAX_STEPS)] = []
    for_each: OptionalRaw = None
    queue: QueueName | None = None
    priority: Annotated[int, Meta(ge=1, le=10)] | None = None
    delay_s: Annotated[float, Meta(ge=0, le=TEN_YEARS_S)] | None = None
    ttl_s: Seconds | None = None
    timeout_s: Timeout | None = None
    soft_timeout_s: Timeout | None = None
    retry: RetryOptions | None = None
    fairness_key: Name | None = None
    concurrency_key: Name | None = None
    tags: Annotated[list[Name], Meta(max_length=50)] = []
    metadata: msgspec.Raw = EMPTY_OBJECT


class GraphDocument(msgspec.Struct):
    """The members of a body that are the graph; others are looked at by whoever reads that body."""

    steps: list[StepDocument]
    input: msgspec.Raw = EMPTY_OBJECT


_decode = msgspec.json.Decoder(GraphDocument).decode


class Read(msgspec.Struct):
    """A graph without faults, and what of it somebody else must know."""

    graph: Graph
    queues: dict[str, str]
    files: dict[str, str]
    """Queues and files that are named, with the pointer of one place."""


def read_graph(
    body: bytes, tree: dict[str, Any], registry: Registry, *, at: str = ""
) -> tuple[Read | None, list[Fault]]:
    """The graph in `body`, whose tree is `tree` and which lies at the pointer `at`."""
    document = _document(body)
    faults = [] if document is not None and _is_plain(tree) else _shape(tree, at)
    if faults or document is None:
        return None, faults[:MAX_FAULTS]
    check = _Check(document, tree, registry, at)
    faults = check.run()
    if faults:
        return None, faults[:MAX_FAULTS]
    return Read(Graph(tuple(check.steps), document.input), check.queues, check.files), []


def _document(body: bytes) -> GraphDocument | None:
    """The graph in one pass; None if its shape is wrong, which is then looked for member by member."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, ValueError):
        return None


def _is_plain(tree: dict[str, Any]) -> bool:
    """What the one pass leaves open: the number of steps, and members that are kept as they came."""
    return (
        1 <= len(tree["steps"]) <= MAX_STEPS
        and isinstance(tree.get("input", {}), dict)
        and all(isinstance(step.get(name, {}), dict) for step in tree["steps"] for name in ("parameters", "metadata"))
    )


def _shape(tree: dict[str, Any], at: str) -> list[Fault]:
    steps = tree.get("steps")
    if not isinstance(steps, list) or not 1 <= len(steps) <= MAX_STEPS:
        return [Fault(f"{at}/steps", f"Expected a list of 1 to {MAX_STEPS:,} steps.")]
    faults = []
    if not isinstance(tree.get("input", {}), dict):
        faults.append(Fault(f"{at}/input", "Expected an object."))
    for n, step in enumerate(steps):
        here = f"{at}/steps/{n}"
        if not isinstance(step, dict):
            faults.append(Fault(here, "Expected an object."))
            continue
        faults += shape_faults(step, StepDocument, here)
        for name in ("parameters", "metadata"):
            if not isinstance(step.get(name, {}), dict):
                faults.append(Fault(f"{here}/{name}", "Expected an object."))
        if len(faults) >= MAX_FAULTS:
            break
    return faults


class _Check:
    """One pass over a graph of the right shape."""

    def __init__(self, document: GraphDocument, tree: dict[str, Any], registry: Registry, at: str) -> None:
        self._document = document
        self._trees: list[dict[str, Any]] = tree["steps"]
        self._registry = registry
        self._at = at
        self._numbers: dict[str, int] = {}
        self._faults: list[Fault] = []
        self.steps: list[Step] = []
        self.queues: dict[str, str] = {}
        self.files: dict[str, str] = {}

    def run(self) -> list[Fault]:
        for n, step in enumerate(self._document.steps):
            if STEP_NAME.fullmatch(step.name) is None:
                self._fault(n, "/name", "1 to 64 letters, digits, _ and -; the first is a letter or _.")
            elif step.name in self._numbers:
                self._fault(n, "/name", "Another step has this name.")
            self._numbers.setdefault(step.name, n)
        for n, step in enumerate(self._document.steps):
            self._step(n, step)
            if len(self._faults) >= MAX_FAULTS:
                return self._faults
        if sum(len(step.after) for step in self.steps) > MAX_EDGES:
            self._faults.append(Fault(f"{self._at}/steps", f"More than {MAX_EDGES:,} edges."))
        if not self._faults and (circle := self._circle()):
            self._faults.append(Fault(f"{self._at}/steps", f"These steps wait for each other: {', '.join(circle)}."))
        return self._faults

    def _fault(self, n: int, pointer: str, message: str) -> None:
        self._faults.append(Fault(f"{self._at}/steps/{n}{pointer}", message))

    def _step(self, n: int, step: StepDocument) -> None:
        edges = self._edges(n, step)
        places = self._references(n, step, edges)
        self._tool(n, step, places)
        self._rest(n, step)
        retry = {} if step.retry is None else msgspec.to_builtins(step.retry)
        fields = {name: getattr(step, name) for name in _SAME}
        fields |= {name: _full(getattr(step, name)) for name in ("parameters", "metadata")}
        self.steps.append(
            Step(
                after=tuple(edge.step if edge.policy is Policy.FAIL else edge for edge in edges.values()),
                retry=retry,
                tags=tuple(step.tags),
                for_each=_given(step.for_each),
                **fields,
            )
        )

    def _edges(self, n: int, step: StepDocument) -> dict[str, Edge]:
        found: dict[str, Edge] = {}
        for m, entry in enumerate(step.after):
            edge = Edge(entry) if isinstance(entry, str) else Edge(entry.step, entry.policy)
            if edge.step not in self._numbers:
                self._fault(n, f"/after/{m}", f"There is no step {edge.step[:64]!r}.")
            elif edge.step == step.name:
                self._fault(n, f"/after/{m}", "A step can't wait for itself.")
            elif edge.step in found:
                self._fault(n, f"/after/{m}", "This step is named twice.")
            found[edge.step] = edge
        return found

    def _references(self, n: int, step: StepDocument, edges: dict[str, Edge]) -> list[str]:
        """Pointers, from the step on, of texts that are only known when it begins; edges they imply are added."""
        tree = self._trees[n]
        places = []
        for pointer, text in _texts(tree):
            try:
                parts = parts_of(text)
            except BadReference as error:
                self._fault(n, pointer, str(error))
                places.append(pointer)
                continue
            references = [part for part in parts if isinstance(part, Reference)]
            if references:
                places.append(pointer)
            for reference in references:
                self._reference(n, step, reference, pointer, edges)
        return places

    def _reference(
        self, n: int, step: StepDocument, reference: Reference, pointer: str, edges: dict[str, Edge]
    ) -> None:
        if reference.step is None:
            listing = pointer.startswith("/for_each")
            if reference.source in (Source.ITEM, Source.INDEX) and (listing or _given(step.for_each) is None):
                self._fault(n, pointer, f"${{{reference}}} means something only in a step with for_each.")
        elif reference.step not in self._numbers:
            self._fault(n, pointer, f"There is no step {reference.step!r}.")
        elif reference.step == step.name:
            self._fault(n, pointer, "A step can't refer to itself.")
        else:
            edges.setdefault(reference.step, Edge(reference.step))

    def _tool(self, n: int, step: StepDocument, places: list[str]) -> None:
        tool = self._registry.find(step.tool)
        if tool is None:
            self._fault(n, "/tool", "No tool of this name is registered.")
            return
        faults = tool.faults(self._trees[n].get("parameters", {}))
        faults += tool.slot_faults(step.files)
        for fault in faults:
            if not _open(fault, places):
                self._fault(n, fault.pointer, fault.message)

    def _rest(self, n: int, step: StepDocument) -> None:
        if len(bytes(step.parameters)) > MAX_PARAMETERS_BYTES:
            self._fault(n, "/parameters", f"At most {MAX_PARAMETERS_BYTES // 1024} KiB.")
        if step.timeout_s and step.soft_timeout_s and step.soft_timeout_s > step.timeout_s:
            self._fault(n, "/soft_timeout_s", "The soft limit lies above timeout_s.")
        if step.queue is not None and step.queue != "default" and step.queue not in self._registry.queues():
            self.queues.setdefault(step.queue, f"{self._at}/steps/{n}/queue")
        for slot, text in step.files.items():
            if is_id("file", text):
                self.files.setdefault(text, f"{self._at}/steps/{n}/files/{slot}")
        listed = self._trees[n].get("for_each")
        if isinstance(listed, list) and len(listed) > MAX_ITEMS:
            self._fault(n, "/for_each", f"At most {MAX_ITEMS:,} items.")
        elif listed is not None and not isinstance(listed, list) and not _is_one_reference(listed):
            self._fault(n, "/for_each", "Expected a list, or one reference to a list.")

    def _circle(self) -> list[str]:
        """Names of at most ten steps that are in a circle or wait for one."""
        parents = [[self._numbers[edge.step] for edge in step.edges] for step in self.steps]
        return [self.steps[n].name for n in in_circles(parents)[:10]]


_SAME = (
    "name", "tool", "files", "queue", "priority", "delay_s", "ttl_s", "timeout_s", "soft_timeout_s", "fairness_key",
    "concurrency_key",
)  # fmt: skip


def _texts(tree: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("parameters", "files", "for_each"):
        if name in tree:
            yield from walk(tree[name], f"/{name}")


def _given(raw: msgspec.Raw | None) -> msgspec.Raw | None:
    return None if raw is None or bytes(raw) == b"null" else raw


def _full(raw: msgspec.Raw) -> msgspec.Raw | None:
    """None for an empty object, which need not travel."""
    return None if bytes(raw) == b"{}" else raw


def _open(fault: Fault, places: list[str]) -> bool:
    """Whether nobody can tell yet if this is a fault: it lies at or around a text that is still to be known."""
    if fault.message in _ABOUT_NAMES:
        return False
    return any(fault.pointer == place or place.startswith(f"{fault.pointer}/") for place in places)


def _is_one_reference(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = parts_of(value)
    except BadReference:
        return True
    return len(parts) == 1 and isinstance(parts[0], Reference)
