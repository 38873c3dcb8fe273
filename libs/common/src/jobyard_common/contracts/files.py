"""Files on the wire."""

from __future__ import annotations

from datetime import datetime

import msgspec

from jobyard_common.contracts.jobs import Actor

FILE_VERBS = ("created", "completed", "released", "deleted", "expired")


class FileMeta(msgspec.Struct, frozen=True):
    """A file as the API shows it. `sha256` is None until the whole content was read."""

    id: str
    tenant: str
    name: str
    size: int
    content_type: str
    sha256: str | None
    state: str
    created_at: datetime
    job_id: str | None = None


class FileEvent(msgspec.Struct, frozen=True):
    file: FileMeta
    actor: Actor
    event_no: int


def event_type(verb: str) -> str:
    return f"jobyard.file.{verb}.v1"
