"""The new jobs of one batch: what they share is made once, and all of them become durable in one go.

Without an idempotency key nothing can have made a job before, so such items need no step of their own after they are
checked. An item that fits the mould of the one before it is checked and drafted in a few steps; any other takes the
way of a single submit, and leaves a mould.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from jobyard_common.contracts.jobs import SubmitJob
from jobyard_common.contracts.wire import encode, milliseconds
from jobyard_common.messaging.packed import packed_headers, packed_record
from jobyard_common.messaging.publisher import OutRecord, Sent
from jobyard_common.runtime.clock import Clock

from jobyard_gateway.domain.alike import Mould
from jobyard_gateway.handlers.submit_job import Checked, Origin, Submitter
from jobyard_gateway.outbound import submit_records
from jobyard_gateway.outbound.barrier import Barrier
from jobyard_gateway.outbound.commands import Commands, NotKept
from jobyard_gateway.outbound.ledger import Ledger, Promise
from jobyard_gateway.outbound.submit_records import Said


class Fresh(msgspec.Struct, frozen=True, gc=False):
    """A job that would be made: its id after the prefix, its queue, and its encoded command."""

    tail: str
    queue: str
    command: bytes


class Sheet:
    """The drafts of one batch; they have one time and one origin."""

    def __init__(self, submitter: Submitter, origin: Origin, *, now: datetime) -> None:
        self.origin = origin
        self.now = now
        self._submitter = submitter
        self._mould: Mould | None = None

    def cast(self, item: bytes, tail: str) -> Fresh | None:
        """The draft of an item that is like the one before it; None for every other."""
        mould = self._mould
        if mould is None:
            return None
        parameters = mould.parameters_in(item)
        return None if parameters is None else Fresh(tail, mould.queue, mould.command(tail, parameters))

    async def draft(self, item: bytes, tail: str) -> Fresh:
        """The draft of any item without a key.

        Raises:
            Problem: as for a single submit.
            ServiceAway: what the item names can't be looked up.
        """
        checked = self._submitter.read(item, now=self.now)
        await self._submitter.look_up(checked, tenant=self.origin.tenant)
        command = self._submitter.command(checked, self.origin, job_id=f"job_{tail}", now=self.now)
        self._submitter.admit_queue(command)
        self._mould = _mould_of(item, checked, command)
        return Fresh(tail, command.spec.queue, encode(command))


def _mould_of(item: bytes, checked: Checked, command: SubmitJob) -> Mould | None:
    submission = checked.submission
    if submission.files or submission.depends_on or checked.tool.definition.cache_ttl_s is not None:
        # What these name is looked up for each item.
        return None
    given = bytes(submission.parameters) if "parameters" in checked.tree else None
    return Mould(item, given, command, checked.tool)


class Together:
    """Makes the drafts of a sheet durable and remembers them."""

    def __init__(
        self, submitter: Submitter, commands: Commands, *, ledger: Ledger, barrier: Barrier, clock: Clock
    ) -> None:
        self._submitter = submitter
        self._commands = commands
        self._ledger = ledger
        self._barrier = barrier
        self._clock = clock

    def sheet(self, origin: Origin) -> Sheet:
        return Sheet(self._submitter, origin, now=milliseconds(self._clock.now()))

    async def keep(self, drafts: Sequence[Fresh], sheet: Sheet) -> set[int]:
        """Which of them, by their place, nobody took."""
        if not drafts:
            return set()
        origin = sheet.origin
        reached, lost = await self._kept(drafts, sheet)
        promises = {
            f"job_{draft.tail}": Promise(draft.command, origin.correlation_id, origin.trace.trace_id)
            for place, draft in enumerate(drafts)
            if place not in lost
        }
        self._ledger.record_all(promises, tenant=origin.tenant)
        for sent in reached:
            self._barrier.wrote(origin.tenant, sent)
        self._submitter.count(origin.actor.kind, len(promises))
        return lost

    async def _kept(self, drafts: Sequence[Fresh], sheet: Sheet) -> tuple[list[Sent], set[int]]:
        origin = sheet.origin
        said = Said(origin.correlation_id, origin.trace.format(), sheet.now)

        def whole(place: int) -> OutRecord:
            return submit_records.whole(f"job_{drafts[place].tail}", drafts[place].command, said)

        if self._commands.makes_spans(origin.trace):
            answers = await self._commands.keep_many([whole(place) for place in range(len(drafts))])
            return (
                [answer for answer in answers if isinstance(answer, Sent)],
                {place for place, answer in enumerate(answers) if isinstance(answer, NotKept)},
            )
        # A new id can't stand anywhere else in the headers, whatever the caller put into them.
        first = drafts[0].tail
        before, between, after = packed_headers(submit_records.headers(f"job_{first}", said)).split(first.encode())
        records = []
        for draft in drafts:
            tail = draft.tail.encode()
            key = b"job_" + tail
            headers = b"".join((before, tail, between, tail, after))
            records.append((key, packed_record(key, draft.command, headers)))
        return await self._commands.keep_packed(records, whole)
