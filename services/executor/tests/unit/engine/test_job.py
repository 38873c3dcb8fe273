"""The state machine: which cause leads where, and what it never does."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from jobyard_common.contracts.jobs import EVENT_VERBS, TERMINAL, JobState, Reason
from jobyard_executor.domain.job import ACTIVE, TRANSITIONS, Cause, Job, Refusal, Step, advance, next_state

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LIVE = sorted(set(JobState) - TERMINAL - {JobState.ACCEPTED})
ENDS = (Cause.SUCCEEDED, Cause.ERROR, Cause.TIMEOUT, Cause.OOM, Cause.RESOURCE_EXHAUSTED, Cause.INTERRUPTED)


def job(state: JobState, **changes: object) -> Job:
    plain = Job(
        "job_1", "t", state, None, False, 1, 0, 1, 0, 0, 0, 1, "ses", "w", NOW, None, NOW, NOW, None, 0, 0, False,
        "c", "", None, None, None, "{}", "{}", None, None,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize(("state", "cause"), itertools.product(LIVE, Cause))
def test_every_step_is_in_the_table(state: JobState, cause: Cause) -> None:
    for pause in (None, timedelta(seconds=1)):
        step = next_state(job(state), cause, pause=pause)
        if isinstance(step, Step):
            assert step.state in TRANSITIONS[state]
            assert step.verb in EVENT_VERBS


@pytest.mark.parametrize(("state", "cause"), itertools.product(sorted(TERMINAL), Cause))
def test_a_terminal_state_never_changes(state: JobState, cause: Cause) -> None:
    assert next_state(job(state), cause) is Refusal.FINISHED
    assert not TRANSITIONS[state]


@pytest.mark.parametrize("cause", [*ENDS, Cause.WORKER_LOST])
def test_once_cancelling_every_end_is_cancelled(cause: Cause) -> None:
    step = next_state(job(JobState.CANCELLING), cause, pause=timedelta(seconds=1))
    assert step == Step(JobState.CANCELLED, "cancelled", Reason.USER)


def test_a_running_job_is_asked_to_stop_and_a_waiting_one_ends_at_once() -> None:
    asked = next_state(job(JobState.RUNNING), Cause.CANCEL_ASKED)
    assert isinstance(asked, Step)
    assert asked.state is JobState.CANCELLING
    for state in (JobState.QUEUED, JobState.SCHEDULED, JobState.BLOCKED, JobState.RETRY_WAIT):
        step = next_state(job(state), Cause.CANCEL_ASKED)
        assert isinstance(step, Step)
        assert (step.state, step.reason, step.dead) == (JobState.CANCELLED, Reason.USER, False)


def test_a_failure_with_a_pause_is_repeated_and_without_one_is_final() -> None:
    again = next_state(job(JobState.RUNNING), Cause.TIMEOUT, pause=timedelta(seconds=3))
    final = next_state(job(JobState.RUNNING), Cause.TIMEOUT)
    assert again == Step(JobState.RETRY_WAIT, "retrying", Reason.TIMEOUT, burns="failures", pause=timedelta(seconds=3))
    assert final == Step(JobState.FAILED, "failed", Reason.TIMEOUT, dead=True, burns="failures")


def test_the_third_lost_worker_is_the_last() -> None:
    second = next_state(job(JobState.RUNNING, lost=1), Cause.WORKER_LOST)
    third = next_state(job(JobState.RUNNING, lost=2), Cause.WORKER_LOST)
    assert isinstance(second, Step)
    assert isinstance(third, Step)
    assert (second.state, second.reason) == (JobState.QUEUED, Reason.WORKER_LOST)
    assert (third.state, third.reason, third.dead) == (JobState.FAILED, Reason.WORKER_LOST, True)


def test_interruptions_burn_nothing_twenty_times() -> None:
    twentieth = next_state(job(JobState.RUNNING, interrupted=19), Cause.INTERRUPTED)
    next_one = next_state(job(JobState.RUNNING, interrupted=20), Cause.INTERRUPTED)
    assert isinstance(twentieth, Step)
    assert isinstance(next_one, Step)
    assert twentieth.state is JobState.QUEUED
    assert (next_one.state, next_one.reason) == (JobState.FAILED, Reason.INTERRUPTED)


def test_a_success_counts_even_past_the_deadline_and_a_failure_there_expires() -> None:
    assert next_state(job(JobState.RUNNING), Cause.SUCCEEDED, past_deadline=True) == Step(
        JobState.SUCCEEDED, "succeeded"
    )
    step = next_state(job(JobState.RUNNING), Cause.ERROR, pause=timedelta(seconds=1), past_deadline=True)
    assert step == Step(JobState.EXPIRED, "expired", Reason.DEADLINE)


def test_time_to_live_counts_only_before_the_first_start() -> None:
    waiting = next_state(job(JobState.QUEUED, attempt=0), Cause.TTL_PASSED)
    assert isinstance(waiting, Step)
    assert waiting.state is JobState.EXPIRED
    assert next_state(job(JobState.QUEUED, attempt=1), Cause.TTL_PASSED) is Refusal.NOT_WAITING


def test_retry_by_hand_refuses_what_does_not_wait_for_its_next_attempt() -> None:
    for state in (JobState.QUEUED, JobState.SCHEDULED, JobState.BLOCKED, JobState.RUNNING):
        assert next_state(job(state), Cause.RETRY_ASKED) is Refusal.NOT_FINISHED


def test_advance_counts_events_and_lets_go_of_the_session() -> None:
    one = job(JobState.RUNNING)
    step = next_state(one, Cause.ERROR, pause=timedelta(seconds=2))
    assert isinstance(step, Step)
    advance(one, step, now=NOW)
    assert (one.event_no, one.failures, one.session) == (2, 1, None)
    assert one.run_at == NOW + timedelta(seconds=2)
    assert one.state not in ACTIVE
