"""The life of a file.

uploading → hashing → ready → deleted        an upload: bytes arrive, are hashed, are shared by content
held → ready                                 an output of a job, until the job's finish is known to be recorded
uploading → expired, held → expired          nobody went on, or the attempt never counted
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from jobyard_common.contracts.files import FileMeta
from jobyard_common.contracts.jobs import Actor


class FileState(StrEnum):
    UPLOADING = "uploading"
    HASHING = "hashing"
    HELD = "held"
    READY = "ready"
    DELETED = "deleted"
    EXPIRED = "expired"


COMPLETE = frozenset({FileState.HASHING, FileState.READY})
GONE = frozenset({FileState.DELETED, FileState.EXPIRED})
LISTED = frozenset({FileState.UPLOADING, FileState.HASHING, FileState.READY})


@dataclass(frozen=True, kw_only=True)
class File:
    """One file. `size` is None while an upload's length is deferred; `received` counts durable bytes.

    `attempt` and `fence` are set for outputs of jobs. `writer_epoch` grows with each request that writes, so that a
    writer that was overtaken cannot move the offset. `traceparent` is the context of the request that made the file.
    """

    id: str
    tenant: str
    name: str
    content_type: str
    size: int | None
    received: int
    sha256: str | None
    state: FileState
    created_at: datetime
    completed_at: datetime | None
    expires_at: datetime | None
    job_id: str | None
    attempt: int | None
    fence: int | None
    upload_metadata: str
    writer_epoch: int
    event_no: int
    actor: Actor
    correlation_id: str
    traceparent: str

    def meta(self) -> FileMeta:
        """The file as events tell it."""
        return FileMeta(
            id=self.id,
            tenant=self.tenant,
            name=self.name,
            size=self.received if self.size is None else self.size,
            content_type=self.content_type,
            sha256=self.sha256,
            state=self.state,
            created_at=self.created_at,
            job_id=self.job_id,
        )
