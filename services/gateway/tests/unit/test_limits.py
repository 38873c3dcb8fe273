"""Rates and admission, against exact models."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import Problem
from jobyard_gateway.domain.permissions import Principal, Role
from jobyard_gateway.domain.rate import Bucket, Rate, rates_of
from jobyard_gateway.handlers.admit import BELIEVED_S, LOOK_EVERY_S, Admission
from jobyard_gateway.handlers.limit import Limiter
from jobyard_gateway.inbound.http.routing import limited_as
from jobyard_gateway.outbound.executor import Executor, QueueRoom, WaitingJobs


def test_a_bucket_agrees_with_exact_arithmetic() -> None:
    rate, chance = Rate(64, 8), random.Random(7)
    each, burst = Fraction(1, 8), Fraction(8)
    bucket, now, full = Bucket(), Fraction(1), Fraction(0)
    for _ in range(200_000):
        now += Fraction(chance.choice([0, 0, 0, 1, 2, 7]), 64)
        cost = chance.choice([1, 1, 1, 2, 5])
        begin = max(full, now)
        passes = begin + cost * each - now <= burst
        if passes:
            full = begin + cost * each
        verdict = bucket.take(rate, cost, now=float(now))
        assert (verdict.retry_s == 0) is passes
        assert verdict.remaining == max(0, int((now + burst - max(full, now)) / each))


def test_the_next_try_passes_exactly_then() -> None:
    bucket, rate = Bucket(), Rate(10, 10)
    for _ in range(10):
        assert bucket.take(rate, 1, now=100.0).retry_s == 0
    wait_s = bucket.take(rate, 1, now=100.0).retry_s
    assert bucket.take(rate, 1, now=100.0 + wait_s * 0.99).retry_s > 0
    assert bucket.take(rate, 1, now=100.0 + wait_s).retry_s == 0


def test_a_batch_above_the_quota_passes_once_rested_and_is_paid_off() -> None:
    bucket, rate = Bucket(), Rate(10, 10)
    assert bucket.take(rate, 1000, now=0.0).retry_s == 0
    assert bucket.take(rate, 1, now=900.0).retry_s > 0
    assert bucket.take(rate, 1, now=992.0).retry_s == 0


def test_a_clock_that_stands_still_or_goes_back_gives_nothing_away() -> None:
    bucket, rate = Bucket(), Rate(3, 60)
    assert [bucket.take(rate, 1, now=5000.0 - 3600.0 * n).retry_s == 0 for n in range(5)] == [
        True,
        False,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "text", ["submit", "submit=0/60", "submit=1/0", "jump=1/2", "submit=1/2,submit=1/2", "submit=1.5/2"]
)
def test_rates_are_checked(text: str) -> None:
    with pytest.raises(ValueError):
        rates_of(text)


def test_rates_are_read() -> None:
    assert rates_of(" submit=600/60 ,read=5/1,") == {"submit": Rate(600, 60), "read": Rate(5, 1)}
    assert rates_of("") == {}


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/v1/jobs", "read"),
        ("POST", "/v1/job-batches", "submit"),
        ("PATCH", "/v1/files/{file_id}", "upload"),
        ("HEAD", "/v1/files/{file_id}", "read"),
        ("POST", "/v1/jobs/{job_id}/cancel", "write"),
    ],
)
def test_what_a_call_counts_as(method: str, path: str, kind: str) -> None:
    assert limited_as(method, path) == kind


def test_a_key_and_its_tenant_are_counted_apart() -> None:
    one = Principal("t", "key_1", Role.MEMBER, frozenset())
    two = Principal("t", "key_2", Role.MEMBER, frozenset())

    async def story() -> None:
        limiter = Limiter({"submit": Rate(4, 60)}, {"submit": Rate(3, 60)}, monotonic=lambda: 1000.0)
        for _ in range(3):
            await limiter.check(one, "submit")
        with pytest.raises(Problem) as refused:
            await limiter.check(one, "submit")
        assert refused.value.code == "rate_limited" and int(refused.value.headers["Retry-After"]) >= 1
        # The refused try of the first key has not cost the tenant anything more than it asked for.
        with pytest.raises(Problem):
            await limiter.check(two, "submit")
        await limiter.check(one, "read")

    asyncio.run(story())


class Counts:
    """An executor that counts what a test says."""

    def __init__(self) -> None:
        self.answer: WaitingJobs | None = WaitingJobs(1, 0)
        self.asked = 0

    async def waiting(self, *, tenant: str) -> WaitingJobs:
        self.asked += 1
        if self.answer is None:
            raise ServiceAway("away")
        return self.answer


def play(story: Callable[[Admission, Counts, list[float]], Any], *, most: int = 10) -> None:
    async def run() -> None:
        counts, now = Counts(), [100.0]
        admission = Admission(cast(Executor, counts), most_waiting=most, monotonic=lambda: now[0])
        await story(admission, counts, now)
        await admission.stop()

    asyncio.run(run())


async def looked() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_came_since_the_count_is_added_to_it() -> None:
    async def story(admission: Admission, counts: Counts, now: list[float]) -> None:
        counts.answer = WaitingJobs(1, 7)
        admission.admit("t", "q")
        await looked()
        let_in = 0
        with pytest.raises(Problem) as refused:
            while True:
                admission.admit("t", "q")
                let_in += 1
        assert (refused.value.code, let_in) == ("queue_full", 3)
        assert 1 <= int(refused.value.headers["Retry-After"]) <= 72
        admission.admit("other", "q")
        counts.answer = WaitingJobs(2, 2)
        now[0] += LOOK_EVERY_S + 0.1
        with pytest.raises(Problem):
            admission.admit("t", "q")
        await looked()
        admission.admit("t", "q", count=8)

    play(story)


def test_a_full_queue_leaves_the_others_open() -> None:
    async def story(admission: Admission, counts: Counts, now: list[float]) -> None:
        counts.answer = WaitingJobs(1, 5, {"slow": QueueRoom(5, 5)})
        admission.admit("t", "slow")
        await looked()
        with pytest.raises(Problem):
            admission.admit("t", "slow")
        admission.admit("t", "fast")

    play(story)


def test_without_an_executor_everybody_is_let_in() -> None:
    async def story(admission: Admission, counts: Counts, now: list[float]) -> None:
        counts.answer = WaitingJobs(1, 10)
        admission.admit("t", "q")
        await looked()
        with pytest.raises(Problem):
            admission.admit("t", "q")
        counts.answer = None
        now[0] += BELIEVED_S + 1
        admission.admit("t", "q")
        await looked()
        for _ in range(100):
            admission.admit("t", "q")
        assert counts.asked < 10

    play(story)


def test_nobody_is_asked_for_every_job() -> None:
    async def story(admission: Admission, counts: Counts, now: list[float]) -> None:
        for _ in range(5_000):
            admission.admit("t", "q")
        await looked()
        assert counts.asked == 1

    play(story, most=0)


@given(st.integers(1, 50), st.integers(1, 50), st.floats(0.01, 1.0))
def test_a_share_of_a_rate_lets_its_share_through(quota: int, window_s: int, share: float) -> None:
    bucket, rate = Bucket(), Rate(quota, window_s)
    passed = sum(bucket.take(rate, 1, now=1000.0, share=share).retry_s == 0 for _ in range(quota + 1))
    assert passed <= max(1, quota * share + 1)
