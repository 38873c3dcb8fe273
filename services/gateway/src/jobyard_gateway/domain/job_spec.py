"""From a checked submission and its tool to the specification that the executor gets."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache

import msgspec
from jobyard_common.contracts.jobs import Cache, Dedupe, DedupeMode, JobSpec, Retry
from jobyard_common.contracts.tools import ToolDefinition
from jobyard_common.contracts.wire import milliseconds
from msgspec import UNSET

from jobyard_gateway.domain.submission import RetryOptions, Submission

DEFAULT_TIMEOUT_S = 3600.0


def job_spec(
    submission: Submission,
    definition: ToolDefinition,
    *,
    now: datetime,
    input_hash: str | None = None,
    queue: str | None = None,
) -> JobSpec:
    """Defaults filled in: the tool's first, then the platform's. `delay_s` becomes `run_at`, as does the silence that a
    debounced submit waits for. `queue` is where jobs of this tool go that name none. `input_hash` names the job's input
    where its tool lets earlier results answer.
    """
    run_at = submission.run_at
    if submission.delay_s:
        run_at = now + timedelta(seconds=submission.delay_s)
    dedupe = submission.dedupe
    if dedupe is not None and dedupe.mode is DedupeMode.DEBOUNCE:
        run_at = max(run_at or now, now + timedelta(seconds=dedupe.ttl_s or 0.0))
    cache = None
    if input_hash is not None and definition.cache_ttl_s is not None:
        cache = Cache(input_hash, definition.cache_ttl_s, submission.use_cache)
    return JobSpec(
        tool=definition.name,
        tool_version=definition.version,
        isolation=definition.isolation,
        min_isolation=definition.min_isolation,
        timeout_s=submission.timeout_s or definition.timeout_s or DEFAULT_TIMEOUT_S,
        parameters=submission.parameters,
        files=submission.files,
        queue=submission.queue or queue or definition.queue,
        priority=submission.priority,
        run_at=milliseconds(run_at) if run_at else None,
        ttl_s=submission.ttl_s,
        deadline_at=milliseconds(submission.deadline_at) if submission.deadline_at else None,
        soft_timeout_s=_soft_limit(submission, definition),
        retry=retry(submission.retry, definition),
        fairness_key=submission.fairness_key,
        concurrency_key=submission.concurrency_key,
        dedupe=Dedupe(dedupe.key, dedupe.mode, dedupe.ttl_s) if dedupe else None,
        depends_on=tuple(submission.depends_on),
        tags=tuple(submission.tags),
        metadata=submission.metadata,
        callback_url=submission.callback_url,
        cache=cache,
    )


def retry(options: RetryOptions | None, definition: ToolDefinition) -> Retry:
    defaults = _tool_retry(msgspec.json.encode(definition.retry))
    if options is None:
        return defaults
    given = {name: value for name, value in msgspec.structs.asdict(options).items() if value is not UNSET}
    if "non_retryable" in given:
        given["non_retryable"] = tuple(given["non_retryable"])
    return msgspec.structs.replace(defaults, **given)


@lru_cache(maxsize=1024)
def _tool_retry(members: bytes) -> Retry:
    return msgspec.json.decode(members, type=Retry)


def _soft_limit(submission: Submission, definition: ToolDefinition) -> float | None:
    if submission.soft_timeout_s is not None or definition.soft_timeout_s is None:
        return submission.soft_timeout_s
    # The tool's own soft limit means nothing above a shorter hard limit of this job.
    if submission.timeout_s is not None and definition.soft_timeout_s >= submission.timeout_s:
        return None
    return definition.soft_timeout_s
