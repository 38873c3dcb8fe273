"""From a step, its tool and what its references mean to the specification of a job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec
from jobyard_common.contracts.jobs import EMPTY_OBJECT, JobSpec, Retry
from jobyard_common.contracts.tools import ToolDefinition
from jobyard_common.contracts.wire import milliseconds
from jobyard_common.contracts.workflows import Step

DEFAULT_TIMEOUT_S = 3600.0
MAX_PARAMETERS_BYTES = 256 * 1024
UNKNOWN_VERSION = "?"


def pinned(text: str, definitions: Iterable[ToolDefinition], *, alive: frozenset[str]) -> ToolDefinition | None:
    """`name@version`, or for a plain name the highest version with a live worker, else the highest."""
    name, _, version = text.partition("@")
    found = [one for one in definitions if one.name == name and (not version or one.version == version)]
    offered = [one for one in found if one.key in alive]
    return max(offered or found, key=lambda one: _order(one.version), default=None)


def step_spec(
    step: Step,
    definition: ToolDefinition | None,
    *,
    parameters: msgspec.Raw,
    files: dict[str, str],
    now: datetime,
    routes: Mapping[str, str] = MappingProxyType({}),
) -> JobSpec:
    """Defaults filled in: the tool's first, then the platform's. Without a definition the job is born `rejected`."""
    if definition is None:
        name, _, version = step.tool.partition("@")
        return JobSpec(name, version or UNKNOWN_VERSION, "async", "L0", DEFAULT_TIMEOUT_S, parameters, files)
    timeout_s = step.timeout_s or definition.timeout_s or DEFAULT_TIMEOUT_S
    soft = step.soft_timeout_s or definition.soft_timeout_s
    return JobSpec(
        tool=definition.name,
        tool_version=definition.version,
        isolation=definition.isolation,
        min_isolation=definition.min_isolation,
        timeout_s=timeout_s,
        parameters=parameters,
        files=files,
        queue=queue_of(step, definition, routes),
        priority=step.priority or 5,
        run_at=milliseconds(now + timedelta(seconds=step.delay_s)) if step.delay_s else None,
        ttl_s=step.ttl_s,
        soft_timeout_s=soft if soft is not None and soft < timeout_s else None,
        retry=_retry(step, definition),
        fairness_key=step.fairness_key,
        concurrency_key=step.concurrency_key,
        tags=step.tags,
        metadata=step.metadata or EMPTY_OBJECT,
    )


def queue_of(step: Step, definition: ToolDefinition, routes: Mapping[str, str]) -> str:
    """The step's own, else that of a route, else the tool's."""
    return step.queue or routes.get(definition.name) or definition.queue


def _retry(step: Step, definition: ToolDefinition) -> Retry:
    """The members are those of `Retry`, checked by whoever took them in; a wrong one leaves the tool's own."""
    try:
        return msgspec.convert({**definition.retry, **step.retry}, Retry)
    except msgspec.ValidationError:
        return Retry()


def _order(version: str) -> tuple[tuple[int, int | str], ...]:
    """Numbers in a version compare as numbers: 2 < 10, 1.9 < 1.10."""
    parts = re.findall(r"\d+|[^\d.]+", version)
    return tuple((1, int(part)) if part.isdigit() else (0, part) for part in parts)
