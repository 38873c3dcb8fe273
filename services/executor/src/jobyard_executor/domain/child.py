"""Children that a tool asks for: what it may say of one, and which id it gets.

The id comes from the parent and the child's key (or its place among the children without one), never from the attempt,
so an attempt that is repeated asks for the same children. They are born with the attempt's success and not before.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from jobyard_common.contracts.ids import keyed_id
from jobyard_common.contracts.jobs import EMPTY_OBJECT
from msgspec import Meta

MAX_CHILDREN = 1000
MAX_BODY_BYTES = 256 * 1024
MAX_TOGETHER_BYTES = 4 * 1024 * 1024

_Name = Annotated[str, Meta(min_length=1, max_length=128)]
_Seconds = Annotated[float, Meta(gt=0, le=10 * 365 * 86_400)]
_Timeout = Annotated[float, Meta(gt=0, le=7 * 86_400)]


class ChildBody(msgspec.Struct, forbid_unknown_fields=True):
    """A submit as a tool may make it: that of the API without what belongs to people and to graphs."""

    tool: Annotated[str, Meta(min_length=1, max_length=256)]
    parameters: msgspec.Raw = EMPTY_OBJECT
    files: Annotated[dict[_Name, str], Meta(max_length=100)] = {}
    key: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    queue: Annotated[str, Meta(max_length=128, pattern=r"^[a-z0-9][a-z0-9._-]*\Z")] | None = None
    priority: Annotated[int, Meta(ge=1, le=10)] | None = None
    delay_s: Annotated[float, Meta(ge=0, le=10 * 365 * 86_400)] | None = None
    ttl_s: _Seconds | None = None
    timeout_s: _Timeout | None = None
    soft_timeout_s: _Timeout | None = None
    retry: dict[str, Any] = {}
    fairness_key: _Name | None = None
    concurrency_key: _Name | None = None
    tags: Annotated[list[_Name], Meta(max_length=50)] = []
    metadata: msgspec.Raw = EMPTY_OBJECT


class ChildJob(msgspec.Struct, frozen=True):
    """One child on its way: `key` is the tool's own or `#<n>`, `body` the JSON text of a `ChildBody`."""

    key: str
    body: msgspec.Raw


class ChildRefused(ValueError):
    """A child that cannot be taken; `code` becomes the attempt's error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


_decode = msgspec.json.Decoder(ChildBody).decode


def read_child(body: bytes) -> ChildBody:
    """Raises ChildRefused."""
    if len(body) > MAX_BODY_BYTES:
        raise ChildRefused("child_invalid", f"A child has at most {MAX_BODY_BYTES // 1024} KiB of JSON.")
    try:
        child = _decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ChildRefused("child_invalid", f"This is no child job: {error}") from None
    for name, text in (("parameters", child.parameters), ("metadata", child.metadata)):
        if not bytes(text).lstrip().startswith(b"{"):
            raise ChildRefused("child_invalid", f"{name} of a child is an object.")
    return child


def child_id(parent_id: str, key: str, *, tenant: str) -> str:
    """The id of a child, in the cell of its parent. The parent's own id keeps others from guessing it."""
    return keyed_id(
        "job", parent_id.encode(), tenant=tenant, operation="child", target=parent_id, key=key, cell=parent_id[4:6]
    )
