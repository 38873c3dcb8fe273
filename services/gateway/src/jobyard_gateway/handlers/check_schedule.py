"""A schedule is checked where submits are: its template by the same rules, everything that is wrong at once."""

from __future__ import annotations

from typing import Any

import msgspec
from jobyard_common.contracts.wire import encode, milliseconds
from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import Problem
from jobyard_common.runtime.clock import Clock

from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.job_spec import job_spec
from jobyard_gateway.domain.schedules import ScheduleDocument, meaning_faults
from jobyard_gateway.domain.strict_json import MalformedJson, nul_pointers, parse
from jobyard_gateway.domain.submission import shape_faults
from jobyard_gateway.handlers.submit_job import Checked, Submitter, refused
from jobyard_gateway.outbound.references import away

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ScheduleChecker:
    def __init__(self, submitter: Submitter, *, clock: Clock) -> None:
        self._submitter = submitter
        self._clock = clock

    async def check(self, body: bytes, *, tenant: str, new: bool) -> bytes:
        """The schedule as the executor takes it: as it was sent, and with the specification of its jobs.

        Raises:
            Problem: malformed_json, validation_failed, or unavailable while nobody can say what the template names.
        """
        try:
            tree = parse(body)
        except MalformedJson as error:
            raise Problem("malformed_json", str(error)) from None
        if not isinstance(tree, dict):
            raise refused([Fault("", "The body is not an object.")])
        faults = [Fault(pointer, "A text with a NUL can't be kept.") for pointer in nul_pointers(body, tree)]
        faults += shape_faults(tree, ScheduleDocument, "")
        faults += meaning_faults(tree, now=self._clock.now(), new=new)
        checked = None
        if isinstance(tree.get("template"), dict):
            template = bytes(_members.decode(body)["template"])
            checked = self._template(template, faults)
        if faults:
            raise refused(list({fault.pointer: fault for fault in reversed(faults)}.values())[::-1][:100])
        assert checked is not None
        await self._look_up(checked, tenant=tenant)
        return self._document(body, checked)

    def _template(self, template: bytes, faults: list[Fault]) -> Checked | None:
        try:
            return self._submitter.read(template)
        except Problem as problem:
            faults += _within(problem)
            return None

    async def _look_up(self, checked: Checked, *, tenant: str) -> None:
        try:
            await self._submitter.look_up(checked, tenant=tenant)
        except ServiceAway as error:
            raise away(error) from None
        except Problem as problem:
            if problem.code != "validation_failed":
                raise
            raise refused(_within(problem)) from None

    def _document(self, body: bytes, checked: Checked) -> bytes:
        document = msgspec.json.decode(body, type=ScheduleDocument)
        queue = self._submitter.queue_of(checked)
        spec = job_spec(checked.submission, checked.tool.definition, now=self._clock.now(), queue=queue)
        found: dict[str, Any] = {name: getattr(document, name) for name in document.__struct_fields__}
        for name in ("at", "starts_at", "ends_at"):
            if found[name] is not None:
                found[name] = milliseconds(found[name])
        if document.cron is not None and document.timezone is None:
            found["timezone"] = "UTC"
        return encode(found | {"spec": msgspec.Raw(encode(spec))})


def _within(problem: Problem) -> list[Fault]:
    """Faults of the template, where they lie in the schedule."""
    found = [Fault(f"/template{error.pointer}", error.message) for error in problem.errors]
    return found or [Fault("/template", problem.detail)]
