"""The submit as people send it: its shape, and all that is wrong with one, at once.

`Submission` is the only statement of the shape. A good body is decoded by it in one pass; a bad one is taken apart
member by member with the same types, so that every fault is found and gets its pointer.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from jobyard_common.contracts.ids import is_id
from jobyard_common.contracts.jobs import EMPTY_OBJECT, PARAMETERS_SLOT, Backoff, DedupeMode
from msgspec import UNSET, Meta, UnsetType

from jobyard_gateway.domain.callback import refusal
from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.strict_json import escape, nul_pointers

TEN_YEARS_S = 10 * 365 * 86_400
WEEK_S = 7 * 86_400
MAX_METADATA_VALUE_BYTES = 1024

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Seconds = Annotated[float, Meta(gt=0, le=TEN_YEARS_S)]
Timeout = Annotated[float, Meta(gt=0, le=WEEK_S)]
Delay = Annotated[float, Meta(ge=0, le=TEN_YEARS_S)]
Moment = Annotated[datetime, Meta(tz=True)]
# msgspec checks `pattern` after the length, so a long text never reaches the expression.
QueueName = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[a-z0-9][a-z0-9._-]*\Z")]


class RetryOptions(msgspec.Struct, forbid_unknown_fields=True):
    """What the sender says of retries; what is missing comes from the tool, then from the platform."""

    max_attempts: Annotated[int, Meta(ge=1, le=100)] | UnsetType = UNSET
    backoff: Backoff | UnsetType = UNSET
    base_s: Seconds | UnsetType = UNSET
    cap_s: Seconds | UnsetType = UNSET
    jitter: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    budget_s: Seconds | None | UnsetType = UNSET
    non_retryable: Annotated[list[Name], Meta(max_length=100)] | UnsetType = UNSET


class DedupeOptions(msgspec.Struct, forbid_unknown_fields=True):
    key: Name
    mode: DedupeMode = DedupeMode.WHILE_ACTIVE
    ttl_s: Seconds | None = None


def _nothing() -> msgspec.Raw:
    return EMPTY_OBJECT


class Submission(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/jobs`. Durations in seconds; `parameters` and `metadata` byte-true."""

    tool: Annotated[str, Meta(min_length=1, max_length=256)]
    parameters: msgspec.Raw = msgspec.field(default_factory=_nothing)
    files: Annotated[dict[Name, str], Meta(max_length=100)] = {}
    queue: QueueName | None = None
    priority: Annotated[int, Meta(ge=1, le=10)] = 5
    run_at: Moment | None = None
    delay_s: Delay | None = None
    ttl_s: Seconds | None = None
    deadline_at: Moment | None = None
    timeout_s: Timeout | None = None
    soft_timeout_s: Timeout | None = None
    retry: RetryOptions | None = None
    fairness_key: Name | None = None
    concurrency_key: Name | None = None
    dedupe: DedupeOptions | None = None
    depends_on: Annotated[list[str], Meta(max_length=1000)] = []
    tags: Annotated[list[Name], Meta(max_length=50)] = []
    metadata: msgspec.Raw = msgspec.field(default_factory=_nothing)
    callback_url: str | None = None
    use_cache: bool = True


_decoder = msgspec.json.Decoder(Submission)
_NESTED: dict[str, type[msgspec.Struct]] = {"retry": RetryOptions, "dedupe": DedupeOptions}
_PATH = re.compile(r" - at `\$([^`]*)`")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_PLACE = re.compile(r" - at `(key in )?`?\$?([^`]*)`?.*")


def read(body: bytes, tree: object, *, now: datetime) -> tuple[Submission | None, list[Fault]]:
    """The submission in `body`, whose tree is `tree`, with all its faults. It is None if its shape is wrong.

    A submission with faults may still be looked at, for the faults that only its tool can tell.
    """
    if not isinstance(tree, dict):
        return None, [Fault("", "The body is not an object.")]
    faults = [Fault(pointer, "A text with a NUL can't be kept.") for pointer in nul_pointers(body, tree)]
    try:
        submission = _decoder.decode(body)
    except (msgspec.ValidationError, ValueError):
        return None, _unique([*faults, *shape_faults(tree, Submission, ""), *_object_faults(tree)])
    faults += _object_faults(tree)
    faults += _meaning_faults(submission, now=now)
    return submission, _unique(faults) if faults else faults


def shape_faults(tree: dict[str, Any], shape: type[msgspec.Struct], pointer: str) -> list[Fault]:
    """Every fault of a tree that shall be a `shape`, which lies at `pointer`."""
    faults = []
    fields = _fields(shape)
    for name, value in tree.items():
        here = f"{pointer}/{escape(name)}"
        if name not in fields:
            faults.append(Fault(here, "Unknown field."))
        elif name in _NESTED and isinstance(value, dict):
            faults += shape_faults(value, _NESTED[name], here)
        elif msgspec.Raw not in (fields[name], *get_args(fields[name])):
            faults += _field_faults(value, fields[name], here)
    for field in msgspec.structs.fields(shape):
        if field.required and field.name not in tree:
            faults.append(Fault(f"{pointer}/{field.name}", "This field is required."))
    return faults


@lru_cache(maxsize=64)
def _fields(shape: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(shape, include_extras=True)


def _field_faults(value: object, kind: Any, pointer: str) -> list[Fault]:
    if isinstance(value, list) and pointer in ("/tags", "/depends_on", "/retry/non_retryable"):
        item = str if pointer == "/depends_on" else Name
        found = [fault for n, entry in enumerate(value) for fault in _field_faults(entry, item, f"{pointer}/{n}")]
        if found:
            return found[:20]
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message = _one_of(kind) if _is_choice(error, kind) else _sentence(str(error))
        return [Fault(pointer + _within(str(error)), message)]
    return []


def _within(message: str) -> str:
    """The place inside the value, as far as msgspec names it, as the rest of a JSON pointer."""
    found = _PATH.search(message)
    steps = _STEP.findall(found[1]) if found else []
    return "".join(f"/{escape(name or number)}" for name, number in steps)


def _is_choice(error: msgspec.ValidationError, kind: Any) -> bool:
    return str(error).startswith("Invalid enum value") and not _within(str(error)) and bool(_choices(kind))


def _one_of(kind: Any) -> str:
    return f"Expected one of {', '.join(_choices(kind))}."


def _choices(kind: Any) -> list[str]:
    kinds = (kind, *get_args(kind))
    return [str(one.value) for each in kinds if isinstance(each, type) and issubclass(each, Enum) for one in each]


def _object_faults(tree: dict[str, Any]) -> list[Fault]:
    faults = [
        Fault(f"/{name}", "Expected an object.")
        for name in ("parameters", "metadata")
        if name in tree and not isinstance(tree[name], dict)
    ]
    metadata = tree.get("metadata")
    if metadata and isinstance(metadata, dict):
        faults += _metadata_faults(metadata)
    return faults


def _metadata_faults(metadata: dict[str, Any]) -> list[Fault]:
    if len(metadata) > 50:
        return [Fault("/metadata", "More than 50 keys.")]
    faults = []
    for name, value in metadata.items():
        if not 1 <= len(name) <= 64:
            faults.append(Fault(f"/metadata/{escape(name[:64])}", "A key has 1 to 64 characters."))
        elif (
            len(msgspec.json.encode(value) if not isinstance(value, str) else value.encode()) > MAX_METADATA_VALUE_BYTES
        ):
            faults.append(Fault(f"/metadata/{escape(name)}", "A value has at most 1 KiB."))
    return faults


def _meaning_faults(submission: Submission, *, now: datetime) -> list[Fault]:
    faults = []
    if submission.run_at is not None:
        if submission.delay_s is not None:
            faults.append(Fault("/delay_s", "Give run_at or delay_s, not both."))
        if submission.run_at > now + timedelta(seconds=TEN_YEARS_S):
            faults.append(Fault("/run_at", "At most 10 years ahead."))
    if submission.callback_url is not None and (reason := refusal(submission.callback_url)):
        faults.append(Fault("/callback_url", reason))
    if submission.timeout_s and submission.soft_timeout_s and submission.soft_timeout_s > submission.timeout_s:
        faults.append(Fault("/soft_timeout_s", "The soft limit lies above timeout_s."))
    dedupe = submission.dedupe
    if dedupe is not None and dedupe.mode is not DedupeMode.WHILE_ACTIVE and dedupe.ttl_s is None:
        faults.append(Fault("/dedupe/ttl_s", f"The mode {dedupe.mode} needs ttl_s."))
    if PARAMETERS_SLOT in submission.files and bytes(submission.parameters).strip() not in (b"{}", b"{ }"):
        faults.append(Fault("/parameters", f"Give parameters or a file for {PARAMETERS_SLOT}, not both."))
    for index, parent in enumerate(submission.depends_on):
        if not is_id("job", parent):
            faults.append(Fault(f"/depends_on/{index}", "No such job."))
    if len(set(submission.depends_on)) != len(submission.depends_on):
        faults.append(Fault("/depends_on", "A job is named twice."))
    return faults


def _sentence(message: str) -> str:
    return _PLACE.sub("", message).replace("`", "")[:300] + "."


def _unique(faults: list[Fault]) -> list[Fault]:
    """At most one fault a place, and at most 100, so that no answer grows with its question."""
    return list({fault.pointer: fault for fault in reversed(faults)}.values())[::-1][:100]
