"""Everything the service says no to, once.

A refusal is an answer, not a fault: the request was understood, nothing was changed beyond what its headers tell, and
the same request again gets the same answer unless its meaning says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Refusal(StrEnum):
    """The problem code of each refusal; `STATUS` has its HTTP status."""

    TUS_VERSION = "unsupported_tus_version"
    MALFORMED_HEADER = "malformed_header"
    NOT_FOUND = "not_found"
    GONE = "gone"
    TOO_LARGE = "payload_too_large"
    MEDIA_TYPE = "unsupported_media_type"
    OFFSET_MISMATCH = "offset_mismatch"
    TAKEN_OVER = "upload_taken_over"
    LOCKED = "upload_locked"
    CHECKSUM = "checksum_mismatch"
    INCOMPLETE = "upload_incomplete"
    IN_USE = "file_in_use"
    RANGE = "range_not_satisfiable"
    TOO_MANY = "too_many_uploads"
    NO_SPACE = "insufficient_storage"
    VALIDATION = "validation_failed"
    UNAVAILABLE = "unavailable"


STATUS: Mapping[Refusal, int] = {
    Refusal.TUS_VERSION: 412,
    Refusal.MALFORMED_HEADER: 400,
    Refusal.NOT_FOUND: 404,
    Refusal.GONE: 410,
    Refusal.TOO_LARGE: 413,
    Refusal.MEDIA_TYPE: 415,
    Refusal.OFFSET_MISMATCH: 409,
    Refusal.TAKEN_OVER: 409,
    Refusal.LOCKED: 423,
    Refusal.CHECKSUM: 460,
    Refusal.INCOMPLETE: 409,
    Refusal.IN_USE: 409,
    Refusal.RANGE: 416,
    Refusal.TOO_MANY: 429,
    Refusal.NO_SPACE: 507,
    Refusal.VALIDATION: 422,
    Refusal.UNAVAILABLE: 503,
}
RETRYABLE = frozenset({Refusal.TAKEN_OVER, Refusal.LOCKED, Refusal.CHECKSUM, Refusal.TOO_MANY, Refusal.UNAVAILABLE})


class Refused(Exception):
    """A request that gets a problem document: `detail` is for the person who sent it, `headers` go with the answer.

    `pointer` names the query parameter or member that is wrong, where there is one.
    """

    def __init__(
        self, reason: Refusal, detail: str, *, headers: Mapping[str, str] | None = None, pointer: str | None = None
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.headers = dict(headers or {})
        self.pointer = pointer

    @property
    def status(self) -> int:
        return STATUS[self.reason]


def not_found() -> Refused:
    return Refused(Refusal.NOT_FOUND, "There is no such file.")
