"""When a request is sent again.

Only what is safe: reads, requests that carry an idempotency key or are idempotent by nature, and any request that
certainly never arrived or was turned away unread (429). A POST without such a promise is sent once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from jobyard.client import answers
from jobyard.client.answers import Document
from jobyard.client.effects import Answer, Flow, Request, send, sleep
from jobyard.errors import Refused, Unreachable

PASSING = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Backoff:
    """Exponential pauses with jitter, in seconds; `attempts` counts the first try too."""

    attempts: int = 4
    base_s: float = 0.2
    cap_s: float = 5.0
    advice_cap_s: float = 30.0
    random: Callable[[], float] = random.random

    def delay(self, attempt: int, *, advice_s: float | None = None) -> float:
        """The pause after try number `attempt` (from 1); the server's advice wins where it is longer."""
        own = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 30)) * (0.75 + 0.5 * self.random())
        return max(own, min(advice_s or 0.0, self.advice_cap_s))


@dataclass(frozen=True)
class Policy:
    """`backoff` is for one call; a follower or an upload gives up after `patience_s` without any success."""

    backoff: Backoff = Backoff()
    patience_s: float = 60.0


def call(request: Request, policy: Policy, *, safe: bool | None = None) -> Flow[Answer]:
    """Send, and send again while that is safe and useful. Raises Refused or Unreachable."""
    key = request.headers.get("Idempotency-Key")
    repeatable = request.method in ("GET", "HEAD") or key is not None if safe is None else safe
    attempt = 1
    while True:
        error: Refused | Unreachable
        advice: float | None = None
        try:
            answer = yield from send(request)
        except Unreachable as unreachable:
            again = repeatable or not unreachable.sent
            unreachable.idempotency_key = key
            error = unreachable
        else:
            if 200 <= answer.status < 300:
                return answer
            answers.check_redirect(answer, request)
            error = answers.refusal(answer, request, idempotency_key=key)
            advice = error.retry_after_s
            again = (answer.status in PASSING and repeatable) or answer.status == 429
            again = again and error.code != "queue_full"
        if not again or attempt >= policy.backoff.attempts:
            raise error
        yield from sleep(policy.backoff.delay(attempt, advice_s=advice))
        attempt += 1


def call_json(request: Request, policy: Policy, *, safe: bool | None = None) -> Flow[Document]:
    answer = yield from call(request, policy, safe=safe)
    return answers.document_of(answer, request)
