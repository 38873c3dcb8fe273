"""Rows of the table `file` as `File`."""

from __future__ import annotations

from typing import Any

from jobyard_common.contracts.jobs import Actor, ActorKind

from jobyard_files.domain.file import File, FileState

COLUMNS = """
id, tenant, name, content_type, size, received, sha256, state, created_at, completed_at, expires_at,
job_id, attempt, fence, upload_metadata, writer_epoch, event_no, actor_kind, actor_id, correlation_id, traceparent
"""


def file_of(row: Any) -> File:
    fields = dict(row)
    kind, actor_id = fields.pop("actor_kind"), fields.pop("actor_id")
    fields["state"] = FileState(fields["state"])
    return File(actor=Actor(ActorKind(kind), actor_id), **fields)


def file_or_none(row: Any) -> File | None:
    return None if row is None else file_of(row)
