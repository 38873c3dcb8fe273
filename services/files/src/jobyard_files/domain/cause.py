"""Who wanted something, and in which story it belongs."""

from __future__ import annotations

from dataclasses import dataclass

from jobyard_common.contracts.jobs import Actor, ActorKind

from jobyard_files.domain.file import File

SYSTEM = Actor(ActorKind.SYSTEM, "files")


@dataclass(frozen=True)
class Cause:
    """The actor, correlation id and `traceparent` that an event or an audit entry names."""

    actor: Actor
    correlation_id: str
    traceparent: str


def by_system(file: File) -> Cause:
    """The service itself did it, in the story of the request that made the file."""
    return Cause(SYSTEM, file.correlation_id, file.traceparent)


def by_maker(file: File) -> Cause:
    return Cause(file.actor, file.correlation_id, file.traceparent)
