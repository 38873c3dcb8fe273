"""Declaring tools: the decorator `tool`, the `ToolFunction` it makes, and the `Pack` that ships several."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

import pydantic

from jobyard.author.batching import BatchRules
from jobyard.author.context import Context
from jobyard.author.errors import BadParameters, ToolDefinitionError
from jobyard.author.stopping import Stoppable
from jobyard.author.values import encode_result

Isolation = Literal["async", "process"]
MinIsolation = Literal["L0", "L1", "L2", "L3", "L4"]

NAME = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*")
VERSION = re.compile(r"(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){0,2}")
QUEUE = re.compile(r"[a-z0-9][a-z0-9._-]*")
SLOT = re.compile(r"[a-z][a-z0-9_]{0,63}")
LONGEST_S = 7 * 86_400.0
LONGEST_CACHE_S = 30 * 86_400.0
RETRY_MEMBERS = frozenset({"max_attempts", "backoff", "base_s", "cap_s", "jitter", "budget_s", "non_retryable"})
COMPLAINTS_SHOWN = 20


class NoParameters(pydantic.BaseModel):
    """The parameters of a tool that has none."""

    model_config = pydantic.ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place for an input file. `content_types` is a hint for forms; the tool itself judges the content."""

    required: bool = True
    content_types: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class ToolFunction:
    """One version of a tool that is a Python function. Times are seconds; `timeout_s` None means 3,600."""

    name: str
    version: str
    title: str
    description: str
    queue: str
    isolation: Isolation
    min_isolation: MinIsolation
    timeout_s: float | None
    soft_timeout_s: float | None
    retry: Mapping[str, Any]
    slots: Mapping[str, Slot]
    params_model: type[pydantic.BaseModel]
    function: Callable[..., Any]
    takes_params: bool = True
    limits: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[Mapping[str, Any], ...] = ()
    cache_ttl_s: float | None = None
    batch: BatchRules | None = None

    def run(self, ctx: Context, parameters: bytes) -> Any:
        """Call the tool with its job's parameters (JSON text).

        `process`: returns the value. `async`: returns an awaitable of it; when the task that awaits it is cancelled
        while `ctx` has a stop reason, the tool hears the matching `Stop` instead, once a reason.
        Raises BadParameters, and whatever the tool raises.
        """
        arguments = (ctx, self.parse(parameters)) if self.takes_params else (ctx,)
        if not self.takes_params:
            self.parse(parameters)
        outcome = self.function(*arguments)
        return Stoppable(outcome, ctx) if self.isolation == "async" else outcome

    def parse(self, parameters: bytes) -> pydantic.BaseModel:
        """The validated parameters. Raises BadParameters that names every fault."""
        try:
            return self.params_model.model_validate_json(parameters or b"{}")
        except pydantic.ValidationError as error:
            raise BadParameters(_complaints(error)) from None

    def encode_result(self, value: Any) -> bytes:
        """As `jobyard.author.values.encode_result`."""
        return encode_result(value)

    def parameters_schema(self) -> dict[str, Any]:
        """The JSON Schema 2020-12 of the parameters."""
        return self.params_model.model_json_schema()

    def __call__(self, ctx: Context, *arguments: Any) -> Any:
        """The undecorated function, for tests and for other tools."""
        return self.function(ctx, *arguments)


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Tools that are shipped together: the object an entry point of the group `jobyard.tools` names.

    `folders` hold command tools, one sub-folder with a `tool.toml` each.
    """

    name: str
    functions: Sequence[ToolFunction] = ()
    folders: Sequence[Path] = ()


def tool(
    name: str,
    *,
    version: str = "1",
    title: str | None = None,
    description: str | None = None,
    queue: str = "default",
    isolation: Isolation | None = None,
    min_isolation: MinIsolation = "L0",
    timeout_s: float | None = None,
    soft_timeout_s: float | None = None,
    retry: Mapping[str, Any] | None = None,
    slots: Mapping[str, Slot] | Sequence[str] = (),
    limits: Mapping[str, Any] | None = None,
    examples: Sequence[Mapping[str, Any]] = (),
    cache_ttl_s: float | None = None,
) -> Callable[[Callable[..., Any]], ToolFunction]:
    """Make a function a tool.

    The function takes the `Context`, and optionally one pydantic model with its parameters. `async def` functions run
    many at once on a worker's event loop (`async`), others in a child process of their own (`process`). `title`
    defaults to the first line of the docstring, `description` to all of it. `retry` holds the retry members whose
    default should differ. With `cache_ttl_s` a job is answered by the result of an earlier one with the same version,
    parameters and file contents, for that long: only for tools without effects. Raises ToolDefinitionError.
    """

    def declare(function: Callable[..., Any]) -> ToolFunction:
        doc = inspect.getdoc(function) or ""
        model, takes_params = _params_model(name, function)
        declared = ToolFunction(
            name=name,
            version=version,
            title=title or doc.partition("\n")[0].rstrip(".") or name,
            description=description if description is not None else doc,
            queue=queue,
            isolation=isolation or ("async" if inspect.iscoroutinefunction(function) else "process"),
            min_isolation=min_isolation,
            timeout_s=timeout_s,
            soft_timeout_s=soft_timeout_s,
            retry=MappingProxyType(dict(retry or {})),
            slots=MappingProxyType(_slots(slots)),
            params_model=model,
            function=function,
            takes_params=takes_params,
            limits=MappingProxyType(dict(limits or {})),
            examples=tuple(examples),
            cache_ttl_s=cache_ttl_s,
        )
        complaint = _complaint(declared)
        if complaint:
            raise ToolDefinitionError(f"Tool {name!r}: {complaint}.")
        return declared

    return declare


def _slots(slots: Mapping[str, Slot] | Sequence[str]) -> dict[str, Slot]:
    return dict(slots) if isinstance(slots, Mapping) else {slot: Slot() for slot in slots}


def _params_model(name: str, function: Callable[..., Any]) -> tuple[type[pydantic.BaseModel], bool]:
    arguments = list(inspect.signature(function).parameters.values())
    if not 1 <= len(arguments) <= 2:
        raise ToolDefinitionError(f"Tool {name!r}: its function takes the context, then optionally its parameters.")
    if len(arguments) == 1:
        return NoParameters, False
    try:
        model = typing.get_type_hints(function).get(arguments[1].name)
    except NameError as error:
        raise ToolDefinitionError(f"Tool {name!r}: cannot read its annotations: {error}.") from None
    if not (isinstance(model, type) and issubclass(model, pydantic.BaseModel)):
        raise ToolDefinitionError(f"Tool {name!r}: annotate {arguments[1].name!r} with a pydantic model.")
    return _strict(model), True


def _strict(model: type[pydantic.BaseModel]) -> type[pydantic.BaseModel]:
    """The model, refusing unknown members: a typing error in a parameter must not pass in silence."""
    if model.model_config.get("extra") == "forbid":
        return model
    body = {
        "model_config": pydantic.ConfigDict(extra="forbid"),
        "__module__": model.__module__,
        "__doc__": model.__doc__,
    }
    return cast(
        type[pydantic.BaseModel], types.new_class(model.__name__, (model,), exec_body=lambda space: space.update(body))
    )


def _complaint(declared: ToolFunction) -> str | None:
    coroutine = inspect.iscoroutinefunction(declared.function)
    if not NAME.fullmatch(declared.name) or len(declared.name) > 128:
        return "a name is lower-case words joined by dots, at most 128 characters"
    if not VERSION.fullmatch(declared.version):
        return f"version {declared.version!r} is not of the form 1, 1.2 or 1.2.3"
    if not QUEUE.fullmatch(declared.queue) or len(declared.queue) > 128:
        return f"queue {declared.queue!r} must match {QUEUE.pattern}"
    if declared.isolation == "async" and not coroutine:
        return 'isolation "async" needs an async function'
    if declared.isolation == "process" and coroutine:
        return 'isolation "process" needs a plain function'
    for limit in ("timeout_s", "soft_timeout_s"):
        seconds = getattr(declared, limit)
        if seconds is not None and not 0 < seconds <= LONGEST_S:
            return f"{limit} must be above 0 and at most {LONGEST_S:.0f}"
    if declared.soft_timeout_s and declared.soft_timeout_s >= (declared.timeout_s or 3600):
        return "soft_timeout_s must be below timeout_s"
    if declared.cache_ttl_s is not None and not 0 < declared.cache_ttl_s <= LONGEST_CACHE_S:
        return f"cache_ttl_s must be above 0 and at most {LONGEST_CACHE_S:.0f}"
    if unknown := set(declared.retry) - RETRY_MEMBERS:
        return f"retry has no member {sorted(unknown)[0]!r}"
    if bad := [slot for slot in declared.slots if not SLOT.fullmatch(slot)]:
        return f"slot {bad[0]!r} must match {SLOT.pattern}"
    return None


def _complaints(error: pydantic.ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = ["/" + "/".join(map(str, fault["loc"])) + ": " + fault["msg"] for fault in faults[:COMPLAINTS_SHOWN]]
    return "The parameters are refused. " + "; ".join(lines)
