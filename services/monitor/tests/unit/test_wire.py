"""Monitor's stricter reading of the messages never drifts from what the contracts allow to be sent."""

from __future__ import annotations

import msgspec
import pytest
from jobyard_common.contracts import files, jobs, output, telemetry
from jobyard_monitor.domain import wire

PAIRS = [
    (wire.ObservedJob, jobs.JobEvent),
    (wire.ObservedLine, output.OutputLine),
    (wire.ObservedPack, output.OutputPack),
    (wire.FileView, files.FileMeta),
    (wire.ObservedFile, files.FileEvent),
    (wire.ObservedRecord, telemetry.LogRecord),
    (wire.ObservedRecords, telemetry.LogRecords),
    (wire.ObservedCheck, telemetry.Check),
    (wire.ObservedBeat, telemetry.Heartbeat),
    (wire.ObservedAudit, telemetry.AuditEntry),
]


def defaults(kind: type[msgspec.Struct]) -> dict[str, object]:
    """What a member is when it is absent; a required one is NODEFAULT."""
    found = {}
    for field in msgspec.structs.fields(kind):
        made = field.default_factory
        found[field.encode_name] = field.default if made is msgspec.NODEFAULT else bytes(made() or b"")
    return found


@pytest.mark.parametrize(("observed", "sent"), PAIRS, ids=lambda kind: kind.__name__)
def test_a_message_that_may_be_sent_has_all_that_is_read(
    observed: type[msgspec.Struct], sent: type[msgspec.Struct]
) -> None:
    allowed = defaults(sent)
    for name, absent in defaults(observed).items():
        assert name in allowed, f"{observed.__name__} reads {name}, which nobody sends"
        if absent is msgspec.NODEFAULT:
            assert allowed[name] is msgspec.NODEFAULT, f"{name} may be left out by its sender"


def test_every_message_of_monitor_is_compared() -> None:
    read = {kind for kind in vars(wire).values() if isinstance(kind, type) and kind.__module__ == wire.__name__}
    assert read - {wire.JobView} == {observed for observed, _ in PAIRS}, "a snapshot has no contract of its own"
