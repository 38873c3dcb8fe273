"""Queues and routes as settings declare them: names, and a TOML or JSON file with more about them.

[queues.bulk]
weight = 0.5
concurrency = 20
rate = {count = 100, per_s = 60, burst = 10}
max_waiting = 100000

[routes]
"table.profile" = "bulk"
"""

from __future__ import annotations

import tomllib
from typing import Annotated

import msgspec
from msgspec import Meta

from jobyard_executor.domain.limits import MAX_CONCURRENCY, Rate, Weight
from jobyard_executor.domain.work_queues import NAME


class QueueFileInvalid(ValueError):
    """The file, or a name in it, makes no sense; the text says where."""


class DeclaredQueue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    weight: Weight = 1.0
    concurrency: Annotated[int, Meta(ge=0, le=MAX_CONCURRENCY)] | None = None
    rate: Rate | None = None
    max_waiting: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None = None


class Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    queues: dict[str, DeclaredQueue] = {}
    routes: dict[str, str] = {}


def declared(names: tuple[str, ...], text: str | None, *, json: bool = False) -> Declared:
    """What `names` and the text of the file declare together.

    Raises:
        QueueFileInvalid
    """
    try:
        tree = {} if text is None else msgspec.json.decode(text) if json else tomllib.loads(text)
        found = msgspec.convert(tree, Declared)
    except (msgspec.ValidationError, msgspec.DecodeError, tomllib.TOMLDecodeError) as error:
        raise QueueFileInvalid(str(error)) from None
    queues = {**dict.fromkeys(names, DeclaredQueue()), **found.queues}
    for name in queues:
        if not NAME.fullmatch(name):
            raise QueueFileInvalid(f"{name[:128]!r} is no name of a queue: write [a-z0-9][a-z0-9._-]*")
    for tool, queue in found.routes.items():
        if queue not in queues and queue != "default":
            raise QueueFileInvalid(f"the route of {tool[:128]} leads to {queue[:128]!r}, which is not declared")
    return Declared(queues, found.routes)
