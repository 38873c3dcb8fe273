"""Why an append did not end with its whole body, and where the client may go on."""

from __future__ import annotations

from jobyard_files.domain.refusals import Refusal, Refused
from jobyard_files.handlers.body import Ending
from jobyard_files.handlers.live_uploads import going_down


def offset_header(received: int) -> dict[str, str]:
    return {"Upload-Offset": str(received)}


def mismatch(received: int) -> Refused:
    return Refused(
        Refusal.OFFSET_MISMATCH, f"The upload stands at {received} bytes; go on there.", headers=offset_header(received)
    )


def too_long(received: int) -> Refused:
    return Refused(
        Refusal.TOO_LARGE, "The body is longer than what the upload still lacks.", headers=offset_header(received)
    )


def disk_full(received: int) -> Refused:
    return Refused(
        Refusal.NO_SPACE, "The server's disk is full; what was recorded is kept.", headers=offset_header(received)
    )


def ended(ending: Ending, received: int | None) -> Refused:
    kept = offset_header(received) if received is not None else {}
    if ending is Ending.DRAINING:
        refused = going_down()
        refused.headers.update(kept)
        return refused
    if ending is Ending.TAKEN_OVER:
        detail = "Another request took this upload over; ask for its offset before you go on."
        return Refused(Refusal.TAKEN_OVER, detail, headers={**kept, "Connection": "close"})
    detail = "No bytes came for too long." if ending is Ending.IDLE else "The connection ended within the body."
    return Refused(Refusal.UNAVAILABLE, detail, headers={**kept, "Retry-After": "1", "Connection": "close"})


def wrong_checksum(received: int) -> Refused:
    detail = "The chunk does not have the digest in Upload-Checksum; it was thrown away."
    return Refused(Refusal.CHECKSUM, detail, headers=offset_header(received))
