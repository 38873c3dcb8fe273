"""Dead letters: jobs that failed for good, and records that no consumer could use."""

from __future__ import annotations

import msgspec
from fastapi import Request
from starlette.responses import Response

from jobyard_gateway.documents.schemas import JOB_FILTERS, PAGING
from jobyard_gateway.documents.shapes import TEXT, operation, query
from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.operations import DiscardDocument, ReplayLetterDocument, ReplayMessageDocument
from jobyard_gateway.domain.permissions import Permission, Principal
from jobyard_gateway.domain.queries import Pairs, job_list_faults, page_faults
from jobyard_gateway.domain.tools import Registry
from jobyard_gateway.handlers.check_bulk import check_parameters
from jobyard_gateway.inbound.http.bodies import json_body
from jobyard_gateway.inbound.http.owned import Owned, inner_path
from jobyard_gateway.inbound.http.routing import Endpoint

TAG = "dead letters"
READ, WRITE, OPERATE = Permission.JOBS_READ, Permission.JOBS_WRITE, Permission.OPERATIONS_ADMIN
ONE = "/v1/dead-letters/{job_id}"
MESSAGE = "/v1/dead-messages/{message_id}"
STATES = ("open", "replayed", "discarded", "all")


class DeadLetterRoutes:
    def __init__(self, owned: Owned, registry: Registry) -> None:
        self._owned = owned
        self._registry = registry

    def endpoints(self) -> list[Endpoint]:
        return [*self._jobs(), *self._messages()]

    def _jobs(self) -> list[Endpoint]:
        owned, tag, letter = self._owned, TAG, "DeadLetter"
        state = query("state", {"enum": list(STATES)}, "open if not given.")
        filters = [each for each in JOB_FILTERS if each["name"] != "state"]
        replay = operation(ok=(202, letter), body="ReplayLetter")
        return [
            owned.endpoint(
                "GET", "/v1/dead-letters", READ, "List jobs that failed for good, newest first", tag=tag,
                ok=(200, "DeadLetterPage"), check=_letter_faults, parameters=[state, *filters, *PAGING],
            ),
            owned.endpoint("GET", ONE, READ, "Get a dead letter", tag=tag, ok=(200, letter)),
            Endpoint("POST", f"{ONE}/replay", WRITE, self.replay, "Run it again, also otherwise", tag, replay),
            owned.endpoint(
                "POST", f"{ONE}/discard", WRITE, "Give it up", tag=tag, ok=(200, letter), body=DiscardDocument,
                schema="Discard", optional_body=True,
            ),
        ]  # fmt: skip

    def _messages(self) -> list[Endpoint]:
        owned, tag, message = self._owned, TAG, "DeadMessage"
        topic = query("topic", TEXT, "Refused on this topic.")
        reason = query("reason", TEXT, "Refused for this reason.")
        return [
            owned.endpoint(
                "GET", "/v1/dead-messages", OPERATE, "List records that nobody could use, newest first", tag=tag,
                ok=(200, "DeadMessagePage"), check=_message_faults, parameters=[topic, reason, *PAGING],
            ),
            owned.endpoint("GET", MESSAGE, OPERATE, "Get a dead record", tag=tag, ok=(200, message)),
            owned.endpoint(
                "POST", f"{MESSAGE}/replay", OPERATE, "Send it to its topic again, also with another value", tag=tag,
                ok=(202, message), body=ReplayMessageDocument, schema="ReplayMessage", optional_body=True,
            ),
            owned.endpoint(
                "POST", f"{MESSAGE}/discard", OPERATE, "Give it up", tag=tag, ok=(200, message), body=DiscardDocument,
                schema="Discard", optional_body=True,
            ),
        ]  # fmt: skip

    async def replay(self, request: Request, principal: Principal) -> Response:
        document = await json_body(request, ReplayLetterDocument, optional=True) or ReplayLetterDocument()
        inner = inner_path(ONE, request)
        if document.parameters is not None:
            found = await self._owned.ask("GET", inner, principal, request, params=[], content=None)
            check_parameters(bytes(found.body), document, self._registry)
        content = msgspec.json.encode(document)
        return await self._owned.ask("POST", f"{inner}/replay", principal, request, params=[], content=content)


def _letter_faults(pairs: Pairs) -> list[Fault]:
    state = [value for name, value in pairs if name == "state"]
    faults = job_list_faults([pair for pair in pairs if pair[0] != "state"])
    if len(state) > 1 or (state and state[0] not in STATES):
        faults.append(Fault("state", f"One of {', '.join(STATES)}."))
    return faults + [Fault("count", "Unknown parameter.") for name, _ in pairs if name == "count"]


def _message_faults(pairs: Pairs) -> list[Fault]:
    return page_faults(pairs, others=("topic", "reason"))
