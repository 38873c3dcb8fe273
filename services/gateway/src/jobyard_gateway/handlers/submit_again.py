"""A submit like the one before: clients send one shape of submit over and over, so it is checked against a mould.

A mould is made when a sender's submit differs from the sender's last one only in its parameters. What a mould stands
for can change: the tool that a name means, the queues that are known, the route of a tool. That is asked each time.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
from jobyard_common.contracts.jobs import DedupeMode, JobSpec, SubmitJob
from jobyard_common.contracts.wire import milliseconds

from jobyard_gateway.domain.alike import Mould
from jobyard_gateway.handlers.submit_job import Checked, Draft, Origin, Submitter

MOST_SENDERS, MOST_MOULDS = 256, 4
LARGEST_BYTES = 8 * 1024
Sender = tuple[str, str]
T = TypeVar("T")


class _Known(msgspec.Struct):
    mould: Mould
    checked: Checked
    spec: JobSpec

    def spec_of(self, parameters: bytes, *, queue: str, now: datetime) -> JobSpec:
        """As `job_spec` would make it."""
        delay_s = self.checked.submission.delay_s
        run_at = milliseconds(now + timedelta(seconds=delay_s)) if delay_s else self.spec.run_at
        return msgspec.structs.replace(self.spec, parameters=msgspec.Raw(parameters), queue=queue, run_at=run_at)


class Again:
    """What senders submitted lately, the last sender last."""

    def __init__(self, submitter: Submitter) -> None:
        self._submitter = submitter
        self._moulds: OrderedDict[Sender, list[_Known]] = OrderedDict()
        self._last: OrderedDict[Sender, tuple[bytes, bytes]] = OrderedDict()

    def draft(self, body: bytes, origin: Origin) -> Draft | None:
        """The draft of a submit without a key, if it fits a mould of its sender; None says nothing."""
        known = self._moulds.get((origin.tenant, origin.actor.id))
        for one in known or ():
            parameters = one.mould.parameters_in(body)
            if parameters is not None:
                if not self._submitter.holds(one.checked):
                    assert known is not None
                    known.remove(one)
                    return None
                return self._drafted(one, parameters, origin)
        return None

    def _drafted(self, one: _Known, parameters: bytes, origin: Origin) -> Draft:
        submitter = self._submitter
        job_id, now = submitter.new_job_id(), submitter.now()
        command = SubmitJob(
            command_id=f"cmd_{job_id[4:]}",
            job_id=job_id,
            tenant=origin.tenant,
            actor=origin.actor,
            accepted_at=now,
            spec=one.spec_of(parameters, queue=submitter.queue_of(one.checked), now=now),
        )
        return submitter.draft_of(command, origin)

    def learn(self, body: bytes, checked: Checked, command: SubmitJob) -> None:
        """A submit went the long way and nothing was wrong with it."""
        if len(body) > LARGEST_BYTES or "parameters" not in checked.tree or not _is_castable(checked):
            return
        sender = (command.tenant, command.actor.id)
        parameters = bytes(checked.submission.parameters)
        begin, _, end = body.partition(parameters)
        before = self._last.get(sender)
        _put(self._last, sender, (begin, end))
        if before != (begin, end):
            return
        moulds = self._moulds.get(sender, [])
        mould = Mould(body, parameters, command, checked.tool, largest=LARGEST_BYTES)
        _put(self._moulds, sender, [_Known(mould, checked, command.spec), *moulds][:MOST_MOULDS])


def _is_castable(checked: Checked) -> bool:
    """Whether a command depends on nothing but the submit, its tool and its time."""
    submission = checked.submission
    debounced = submission.dedupe is not None and submission.dedupe.mode is DedupeMode.DEBOUNCE
    cached = checked.tool.definition.cache_ttl_s is not None
    return not (submission.files or submission.depends_on or debounced or cached)


def _put(kept: OrderedDict[Sender, T], sender: Sender, value: T) -> None:
    kept[sender] = value
    kept.move_to_end(sender)
    if len(kept) > MOST_SENDERS:
        kept.popitem(last=False)
