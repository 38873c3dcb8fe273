"""The last thing a running job said about how far it is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from jobyard_executor.domain.assignment import Output
from jobyard_executor.domain.snapshot import moment


class _Fields(msgspec.Struct):
    done: float | int = 0
    total: float | int | None = None
    note: str | None = None


class _Shown(msgspec.Struct):
    done: float | int
    total: float | int | None
    note: str | None
    at: str


def last_progress(lines: Sequence[Output]) -> str | None:
    """The last progress among `lines` as the API shows it; None if there is none that can be read."""
    for line in reversed(lines):
        if line.stream != "progress" or line.fields is None:
            continue
        try:
            fields = msgspec.json.decode(line.fields, type=_Fields)
        except msgspec.DecodeError:
            return None
        return msgspec.json.encode(_Shown(fields.done, fields.total, fields.note, moment(line.at))).decode()
    return None
