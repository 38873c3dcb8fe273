"""Everything the client raises.

JobyardError
├── InvalidArgument        refused before anything was sent (also a ValueError)
├── ConfigurationError     no server known, or the settings make no sense
├── Unreachable            no answer, or none that can be trusted to be Jobyard's
│   └── UnexpectedAnswer   something answered, but not Jobyard
├── WaitTimeout            the job is not finished yet (also a TimeoutError)
├── UploadChanged          the file changed while it went up
├── ContentMismatch        the bytes that arrived are not those that were announced
└── Refused                the server said no; `code` is the problem code
    └── one class for each problem code
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class JobyardError(Exception):
    """Base of all errors of the client."""


class InvalidArgument(JobyardError, ValueError):
    """An argument that no server could accept."""


class ConfigurationError(JobyardError):
    """The settings name no usable server."""


class Unreachable(JobyardError):
    """The server gave no answer.

    `idempotency_key` is set where a request may have arrived: repeat it with that key to learn what became of it.
    `sent` is false where it certainly did not.
    """

    def __init__(self, message: str, *, sent: bool = True, idempotency_key: str | None = None) -> None:
        super().__init__(message)
        self.sent = sent
        self.idempotency_key = idempotency_key


class UnexpectedAnswer(Unreachable):
    """Something answered, but not the way Jobyard does; is the address right?"""


class WaitTimeout(JobyardError, TimeoutError):
    """The time to wait is over; the job goes on."""

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class UploadChanged(JobyardError):
    """The file on disk changed while it was uploaded; upload it again."""


class ContentMismatch(JobyardError):
    """The SHA-256 of what arrived differs from the announced one."""


@dataclass(frozen=True)
class Problem:
    """An `application/problem+json` document; `document` holds it whole."""

    status: int
    code: str
    title: str = ""
    detail: str = ""
    retryable: bool = False
    errors: tuple[Mapping[str, Any], ...] = ()
    trace_id: str | None = None
    correlation_id: str | None = None
    document: Mapping[str, Any] = field(default_factory=dict)


class Refused(JobyardError):
    """The server understood and said no. `problem` tells why; `retry_after_s` is its advice in seconds."""

    def __init__(
        self, problem: Problem, *, retry_after_s: float | None = None, idempotency_key: str | None = None
    ) -> None:
        super().__init__(problem.detail or problem.title or problem.code)
        self.problem = problem
        self.retry_after_s = retry_after_s
        self.idempotency_key = idempotency_key

    @property
    def code(self) -> str:
        return self.problem.code

    @property
    def status(self) -> int:
        return self.problem.status


class Unauthenticated(Refused):
    """401: no API key, or one that is not valid."""


class Forbidden(Refused):
    """403: the key may not do this."""


class NotFound(Refused):
    """404: nothing of that id in this tenant."""


class ValidationFailed(Refused):
    """422: `problem.errors` names each fault with its JSON pointer."""


class UnknownTool(Refused):
    """422: no such tool, or no such version of it."""


class MalformedJson(Refused):
    """400: the body is not JSON that Jobyard takes."""


class PayloadTooLarge(Refused):
    """413: more than the limit; large inputs go up as files."""


class UnsupportedMediaType(Refused):
    """415: not the content type that this call takes."""


class IdempotencyConflict(Refused):
    """422: the idempotency key was used for another body."""


class JobFinished(Refused):
    """409: the job has ended, and terminal states never change."""


class JobNotFinished(Refused):
    """409: only a finished job has this."""


class RateLimited(Refused):
    """429: too many requests."""


class QueueFull(Refused):
    """429: too many waiting jobs."""


class QueueDraining(Refused):
    """409: the queue takes no new jobs for now; those that wait in it still run."""


class Unavailable(Refused):
    """503: the server cannot keep the promise now; repeat later, with the same idempotency key."""


class BadRequest(Refused):
    """400: the request breaks the rules of its protocol."""


class MethodNotAllowed(Refused):
    """405: the address exists, but not for this method."""


class NotAcceptable(Refused):
    """406: none of the accepted media types can be produced."""


class Gone(Refused):
    """410: it was here once and was deleted or has expired."""


class Conflict(Refused):
    """409: the state of the thing does not allow this."""


class PreconditionFailed(Refused):
    """412: a condition in the headers does not hold."""


class RangeNotSatisfiable(Refused):
    """416: the range lies beyond the end."""


class InternalFault(Refused):
    """500: something broke in the server; `problem.trace_id` helps to find it."""


class NotAvailable(Refused):
    """501: this part of the API is not in the server's version."""


class InsufficientStorage(Refused):
    """507: the server has no room for these bytes."""


BY_CODE: Mapping[str, type[Refused]] = {
    "unauthenticated": Unauthenticated,
    "forbidden": Forbidden,
    "not_found": NotFound,
    "validation_failed": ValidationFailed,
    "unknown_tool": UnknownTool,
    "malformed_json": MalformedJson,
    "payload_too_large": PayloadTooLarge,
    "unsupported_media_type": UnsupportedMediaType,
    "idempotency_conflict": IdempotencyConflict,
    "job_finished": JobFinished,
    "job_not_finished": JobNotFinished,
    "rate_limited": RateLimited,
    "queue_full": QueueFull,
    "queue_draining": QueueDraining,
    "unavailable": Unavailable,
    "bad_request": BadRequest,
    "method_not_allowed": MethodNotAllowed,
    "not_acceptable": NotAcceptable,
    "gone": Gone,
    "conflict": Conflict,
    "precondition_failed": PreconditionFailed,
    "range_not_satisfiable": RangeNotSatisfiable,
    "internal": InternalFault,
    "not_implemented": NotAvailable,
    "insufficient_storage": InsufficientStorage,
}
