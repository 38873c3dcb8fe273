"""Workflows are checked here and kept by the executor; their runs are commands, kept even while it is away.

A run starts from a stored workflow or from a graph in the body. A command has at most 900 KB: a larger graph is stored
as a workflow first.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import msgspec
from jobyard_common.contracts import workflows as flow
from jobyard_common.contracts.envelope import encode as headers_of
from jobyard_common.contracts.envelope import new_envelope
from jobyard_common.contracts.ids import keyed_id, new_id
from jobyard_common.contracts.references import Source, references_of
from jobyard_common.contracts.topics import JOBS_COMMANDS
from jobyard_common.contracts.wire import encode, milliseconds, rfc3339
from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import FieldError, Problem
from jobyard_common.messaging.publisher import OutRecord, Sent
from jobyard_common.runtime.clock import Clock

from jobyard_gateway.domain.canonical import body_hash
from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.graph import Read, read_graph
from jobyard_gateway.domain.strict_json import MalformedJson, nul_pointers, parse
from jobyard_gateway.domain.submission import shape_faults
from jobyard_gateway.domain.tools import Registry
from jobyard_gateway.handlers.repeat_safely import HEADER, TTL_S
from jobyard_gateway.handlers.submit_job import SOURCE, Origin, refused
from jobyard_gateway.outbound.barrier import Barrier
from jobyard_gateway.outbound.commands import Commands, NotKept
from jobyard_gateway.outbound.executor import Executor
from jobyard_gateway.outbound.references import References
from jobyard_gateway.outbound.shelf import Shelf, Unknown

MAX_MEMBERS = 300_000
LARGE_BYTES = 32 * 1024
"""Above this a body is checked on another thread, so that nobody waits for it."""


class WorkflowDocument(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    steps: msgspec.Raw
    description: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class RunDocument(msgspec.Struct, forbid_unknown_fields=True):
    """`workflow` (an id, `name` or `name@version`) or `graph`."""

    workflow: str | None = None
    graph: msgspec.Raw = msgspec.Raw(b"null")
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class RunStarter:
    def __init__(
        self,
        registry: Registry,
        references: References,
        commands: Commands,
        executor: Executor,
        *,
        barrier: Barrier,
        shelf: Shelf,
        id_secret: bytes,
        clock: Clock,
        cell: str,
    ) -> None:
        self._registry = registry
        self._references = references
        self._commands = commands
        self._executor = executor
        self._barrier = barrier
        self._shelf = shelf
        self._id_secret = id_secret
        self._clock = clock
        self._cell = cell

    async def check_workflow(self, body: bytes, *, tenant: str) -> bytes:
        """The workflow as the executor takes it. Raises Problem."""
        tree, read = await _apart(body, self._workflow)
        await self._look_up(read, tenant=tenant)
        graph = msgspec.Raw(encode(read.graph))
        return encode({"name": tree["name"], "description": tree.get("description", ""), "graph": graph})

    async def start(self, body: bytes, origin: Origin, *, key: str | None) -> tuple[str, bytes, bool]:
        """The id of the run, what the 202 shows, and whether this key had started it before. Raises Problem."""
        tree, read = await _apart(body, self._run)
        if read is not None:
            await self._look_up(read, tenant=origin.tenant)
        elif await self._executor.workflow_unknown(tree["workflow"], tenant=origin.tenant):
            raise refused([Fault("/workflow", "No such workflow.")])
        command = self._command(body, tree, read, origin, key=key)
        value = encode(command)
        if len(value) > flow.MAX_COMMAND_BYTES:
            raise Problem(
                "payload_too_large", "This graph is too large to start at once: store it as a workflow first."
            )
        replayed = key is not None and await self._known(command)
        if not replayed:
            await self._keep(flow.START_RUN, command.run_id, value, origin)
        return command.run_id, _shown(command, origin), replayed

    def _command(
        self, body: bytes, tree: dict[str, Any], read: Read | None, origin: Origin, *, key: str | None
    ) -> flow.StartRun:
        run_id = new_id("wfr", cell=self._cell)
        if key is not None:
            run_id = keyed_id(
                "wfr", self._id_secret, tenant=origin.tenant, operation="start_run", key=key, cell=self._cell
            )
        return flow.StartRun(
            command_id=f"cmd_{run_id[4:]}",
            run_id=run_id,
            tenant=origin.tenant,
            actor=origin.actor,
            accepted_at=milliseconds(self._clock.now()),
            workflow=tree.get("workflow"),
            graph=msgspec.Raw(encode(read.graph)) if read is not None else None,
            name=tree.get("name") or tree.get("workflow") or "",
            input=_members(body).get("input", msgspec.Raw(b"{}")),
            keyed=key is not None,
            body_hash=body_hash(tree) if key is not None else "",
        )

    def _workflow(self, body: bytes) -> tuple[dict[str, Any], Read]:
        tree, faults = _tree(body, WorkflowDocument)
        name = tree.get("name")
        if isinstance(name, str) and not _is_name(name):
            faults.append(Fault("/name", "1 to 128 lower-case letters, digits, dots, _ and -."))
        description = tree.get("description")
        if isinstance(description, str) and len(description) > 10_000:
            faults.append(Fault("/description", "At most 10,000 characters."))
        read, more = read_graph(body, tree, self._registry)
        if faults or read is None:
            raise refused([*faults, *more][:100])
        return tree, read

    def _run(self, body: bytes) -> tuple[dict[str, Any], Read | None]:
        tree, faults = _tree(body, RunDocument)
        given, graph = tree.get("input", {}), tree.get("graph")
        if not isinstance(given, dict):
            faults.append(Fault("/input", "Expected an object."))
        elif len(bytes(_members(body).get("input", b"{}"))) > flow.MAX_INPUT_BYTES:
            faults.append(Fault("/input", f"At most {flow.MAX_INPUT_BYTES // 1024} KiB."))
        if (graph is None) == (tree.get("workflow") is None):
            faults.append(Fault("/workflow", "Give a workflow or a graph, and not both."))
        for member in ("name", "workflow"):
            text = tree.get(member)
            if isinstance(text, str) and not 1 <= len(text) <= 256:
                faults.append(Fault(f"/{member}", "1 to 256 characters."))
        read = None
        if isinstance(graph, dict):
            faults += [
                Fault(f"/graph/{name[:64]}", "Unknown field.") for name in graph if name not in ("steps", "input")
            ]
            read, more = read_graph(bytes(_members(body)["graph"]), graph, self._registry, at="/graph")
            faults += more
            if read is not None and isinstance(given, dict):
                faults += _missing_input(read, graph, given)
        elif graph is not None:
            faults.append(Fault("/graph", "Expected an object."))
        if faults:
            raise refused(faults[:100])
        return tree, read

    async def _look_up(self, read: Read, *, tenant: str) -> None:
        """Queues and files that the graph names must exist. Raises Problem."""
        if not read.queues and not read.files:
            return
        faults = []
        try:
            for queue, pointer in list(read.queues.items())[:20]:
                if await self._references.missing(tenant=tenant, files=(), jobs=(), queue=queue):
                    faults.append(Fault(pointer, "No such queue."))
            if read.files:
                missing = await self._references.missing(tenant=tenant, files=read.files, jobs=(), queue=None)
                faults += [Fault(read.files[name], "No such file.") for name in sorted(missing)]
        except ServiceAway:
            raise Problem("unavailable", "What this graph names can't be looked up at the moment.") from None
        if faults:
            raise refused(faults[:100])

    async def _known(self, command: flow.StartRun) -> bool:
        """Whether a run of this key is known to exist. Raises Problem idempotency_conflict."""
        seen: str | None = None
        try:
            found = await self._shelf.reserve(f"key:{command.run_id}", command.body_hash.encode(), ttl_s=TTL_S)
            seen = found.decode() if found else None
        except Unknown:
            seen = None
        try:
            stored = await self._executor.keyed_hash(command.run_id, tenant=command.tenant)
        except ServiceAway:
            stored = None
        if (stored or seen or command.body_hash) != command.body_hash:
            raise Problem(
                "idempotency_conflict",
                "This idempotency key belongs to another request.",
                errors=[FieldError(HEADER, "Used before with another body.")],
                extra={"run_id": command.run_id},
            )
        return stored is not None

    async def _keep(self, kind: str, run_id: str, value: bytes, origin: Origin) -> None:
        envelope = new_envelope(
            kind,
            source=SOURCE,
            subject=run_id,
            correlation_id=origin.correlation_id,
            traceparent=origin.trace.format(),
        )
        try:
            kept = await self._commands.keep(OutRecord(JOBS_COMMANDS.name, run_id, value, headers_of(envelope)))
        except NotKept:
            text = (
                "The run could not be stored safely. It may exist nevertheless: repeat with the same idempotency key."
            )
            raise Problem("unavailable", text, extra={"run_id": run_id}) from None
        if isinstance(kept, Sent):
            self._barrier.wrote(origin.tenant, kept)


async def _apart(body: bytes, check: Any) -> Any:
    return await asyncio.to_thread(check, body) if len(body) > LARGE_BYTES else check(body)


def _tree(body: bytes, shape: type[msgspec.Struct]) -> tuple[dict[str, Any], list[Fault]]:
    """Raises Problem for what is no JSON object."""
    try:
        tree = parse(body, most=MAX_MEMBERS)
    except MalformedJson as error:
        raise Problem("malformed_json", str(error)) from None
    if not isinstance(tree, dict):
        raise refused([Fault("", "The body is not an object.")])
    faults = [Fault(pointer, "A text with a NUL can't be kept.") for pointer in nul_pointers(body, tree)]
    return tree, [*faults, *shape_faults(tree, shape, "")]


def _is_name(text: str) -> bool:
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789._-"
    return 1 <= len(text) <= 128 and all(character in allowed for character in text) and text[0] not in "._-"


def _missing_input(read: Read, graph: dict[str, Any], given: dict[str, Any]) -> list[Fault]:
    """Members of the input that steps refer to and nobody gives."""
    known = {**graph.get("input", {}), **given}
    wanted = {
        reference.path[0]
        for n, step in enumerate(read.graph.steps)
        for reference in references_of([graph["steps"][n].get(name) for name in ("parameters", "files", "for_each")])
        if reference.source is Source.INPUT and reference.path
    }
    return [Fault(f"/input/{name}", "A step refers to this.") for name in sorted(map(str, wanted)) if name not in known]


def _shown(command: flow.StartRun, origin: Origin) -> bytes:
    """The run as it is before the executor has taken it in."""
    at: datetime = command.accepted_at
    return encode(
        {
            "id": command.run_id,
            "workflow_id": command.workflow if (command.workflow or "").startswith("wfl_") else None,
            "name": command.name,
            "version": None,
            "state": "accepted",
            "error": None,
            "progress": {"steps": 0, "steps_done": 0, "jobs": 0, "jobs_done": 0},
            "origin_id": None,
            "actor": command.actor,
            "correlation_id": origin.correlation_id,
            "trace_id": origin.trace.trace_id,
            "created_at": rfc3339(at),
            "started_at": None,
            "finished_at": None,
            "links": links(command.run_id),
        }
    )


def links(run_id: str) -> dict[str, str]:
    return {"self": f"/v1/workflow-runs/{run_id}", "jobs": f"/v1/jobs?workflow_id={run_id}"}
