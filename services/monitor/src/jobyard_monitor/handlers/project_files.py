"""Events of files become their timelines."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from jobyard_common.contracts.files import FILE_VERBS, event_type
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.inbound import Inbound, Refused

from jobyard_monitor.domain.text import storable
from jobyard_monitor.domain.wire import ObservedFile
from jobyard_monitor.handlers.accept import NotForUs, Unacceptable, data_of, head_of
from jobyard_monitor.store import files
from jobyard_monitor.store.files import Observed

TYPES = frozenset(event_type(verb) for verb in FILE_VERBS)
MAX_NAME = 1024


async def project_files(connection: Connection, batch: list[Inbound]) -> Sequence[Refused]:
    rows: list[Observed] = []
    refused: list[Refused] = []
    for record in batch:
        try:
            envelope = head_of(record, known=TYPES)
            event = data_of(record, ObservedFile)
        except NotForUs:
            continue
        except Unacceptable as error:
            refused.append(error.refusal(record))
            continue
        # The name is what some user called the file.
        file = msgspec.structs.replace(event.file, name=storable(event.file.name, limit=MAX_NAME))
        rows.append(Observed(envelope.time, envelope.type, msgspec.structs.replace(event, file=file)))
    if rows:
        await files.add_steps(connection, rows)
    return refused
