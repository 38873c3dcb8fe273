"""What running jobs say: lines and progress, packed by attempt on `jobs.output`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from jobyard_common.contracts.wire import OptionalRaw

OUTPUT = "jobyard.job.output.v1"
MAX_PACK_BYTES = 128 * 1024


class Stream(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"
    LOG = "log"
    PROGRESS = "progress"


class OutputLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """`seq` = attempt * 10^9 + n, gapless from n = 1. For `progress`, `fields` holds `{"done", "total", "note"}`."""

    seq: int
    at: datetime
    stream: Stream
    message: str = ""
    level: str | None = None
    fields: OptionalRaw = None
    late: bool = False


class OutputPack(msgspec.Struct, frozen=True):
    """Some lines of one attempt, in order."""

    job_id: str
    tenant: str
    attempt: int
    fence: int
    lines: tuple[OutputLine, ...]
