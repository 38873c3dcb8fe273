"""Whether a failed attempt is repeated, and after which pause."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from jobyard_common.contracts.jobs import Backoff, Retry
from jobyard_common.runtime.backoff import jittered

LONGEST_ASKED_S = 86_400.0


def base_delay_s(retry: Retry, *, failures: int) -> float:
    """Seconds before the next attempt after `failures` failed ones (≥ 1), without jitter."""
    if retry.backoff is Backoff.FIXED:
        delay = retry.base_s
    elif retry.backoff is Backoff.LINEAR:
        delay = retry.base_s * failures
    else:
        delay = retry.base_s * 2.0 ** min(failures - 1, 64)
    return min(delay, retry.cap_s)


def pause_before_next(
    retry: Retry,
    *,
    failures: int,
    code: str,
    retryable: bool,
    first_queued_at: datetime,
    now: datetime,
    dice: random.Random,
    asked_s: float | None = None,
) -> timedelta | None:
    """The pause after the failure number `failures`, or None when it is final.

    `asked_s` is the pause that the tool asked for; it takes the place of the computed one, at most a day. The budget
    is for everything from the first time in the queue to the next start.
    """
    if not retryable or code in retry.non_retryable or failures >= retry.max_attempts:
        return None
    if asked_s is not None:
        delay = min(asked_s, LONGEST_ASKED_S)
    else:
        delay = jittered(base_delay_s(retry, failures=failures), share=retry.jitter, dice=dice)
    pause = timedelta(seconds=max(0.0, delay))
    if retry.budget_s is not None and now + pause > first_queued_at + timedelta(seconds=retry.budget_s):
        return None
    return pause
