"""`result.json`: the value that a command leaves in its work dir."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import msgspec

from jobyard_executor.worker import failures
from jobyard_executor.worker.messages import Fault

RESULT_BYTES = 256 * 1024


class ResultUnreadable(Exception):
    """`result.json` is there but cannot be the value."""

    def __init__(self, verdict: str, fault: Fault) -> None:
        super().__init__(fault.message)
        self.verdict = verdict
        self.fault = fault


def read_result(work_dir: str) -> bytes:
    """The value that a command left, `null` when it left none. Follows no link. Raises ResultUnreadable."""
    try:
        descriptor = os.open(f"{work_dir}/result.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b"null"
    except OSError as error:
        raise _invalid(f"result.json cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _invalid("result.json is no regular file")
        # A hard link to a file that the tool could not read itself.
        if status.st_uid != Path(work_dir).stat().st_uid:
            raise _invalid("result.json belongs to another user")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            text = file.read(RESULT_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(text) > RESULT_BYTES:
        raise ResultUnreadable(
            failures.RESOURCE_EXHAUSTED,
            Fault(
                "resource_exhausted",
                f"result.json is larger than {RESULT_BYTES:,} bytes; write large results to a file in out/ instead",
                retryable=False,
            ),
        )
    return strict_json(text)


def strict_json(text: bytes) -> bytes:
    """The text, if it is one JSON value and nothing else. Raises ResultUnreadable."""
    try:
        msgspec.json.decode(text, type=Any)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _invalid(f"result.json is no JSON value: {error}") from error
    return text.strip()


def _invalid(message: str) -> ResultUnreadable:
    return ResultUnreadable(failures.ERROR, Fault("result_invalid", message, retryable=False))
