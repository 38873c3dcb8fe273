"""Timelines and attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from jobyard_monitor.domain.story import FileStep, JobStep, attempts, merge, verb_of

START = datetime(2030, 1, 1, tzinfo=UTC)


def step(event_no: int, verb: str, seconds: float, *, attempt: int = 1, reason: str | None = None) -> JobStep:
    at = START + timedelta(seconds=seconds)
    kind = f"jobyard.job.{verb}.v1"
    return JobStep(at, 1, event_no, kind, verb, reason, attempt, "system", "x", f"w{attempt}", 1, 9, None, 0)


def file_step(file_id: str, event_no: int, seconds: float) -> FileStep:
    at = START + timedelta(seconds=seconds)
    kind = "jobyard.file.created.v1"
    return FileStep(at, file_id, event_no, kind, "created", "n", 1, "t", None, True, "system", "x")


def test_a_job_keeps_its_own_order_whatever_the_clocks_said() -> None:
    told = merge([step(2, "started", 1.0), step(1, "queued", 1.5), step(3, "succeeded", 3.0)], [])
    assert [row.event_no for row in told] == [1, 2, 3]


def test_files_stand_where_their_time_puts_them() -> None:
    told = merge(
        [step(1, "queued", 1), step(2, "started", 2), step(3, "succeeded", 4)],
        [file_step("file_out", 1, 3), file_step("file_in", 2, 0.5), file_step("file_in", 1, 0)],
    )
    names = [row.file_id if isinstance(row, FileStep) else row.verb for row in told]
    assert names == ["file_in", "file_in", "queued", "started", "file_out", "succeeded"]


def test_attempts_are_told_by_the_events() -> None:
    found = attempts(
        [
            step(1, "queued", 0, attempt=0),
            step(2, "started", 1, attempt=1),
            step(3, "retrying", 2, attempt=1, reason="error"),
            step(4, "started", 5, attempt=2),
            step(5, "cancelling", 6, attempt=2),
            step(6, "cancelled", 7, attempt=2, reason="user"),
        ]
    )
    assert [(row.attempt, row.outcome, row.reason, row.worker) for row in found] == [
        (1, "failed", "error", "w1"),
        (2, "cancelled", "user", "w2"),
    ]


def test_a_running_attempt_has_no_end() -> None:
    (only,) = attempts([step(1, "queued", 0, attempt=0), step(2, "started", 1)])
    assert (only.ended_at, only.outcome, only.run_ms) == (None, None, None)


def test_a_job_cancelled_before_its_start_has_no_attempt() -> None:
    assert attempts([step(1, "queued", 0, attempt=0), step(2, "cancelled", 1, attempt=0, reason="user")]) == []


def test_a_retry_by_hand_does_not_end_the_attempt_twice() -> None:
    found = attempts([step(1, "started", 1), step(2, "retrying", 2, reason="error"), step(3, "cancelled", 9)])
    assert [(row.outcome, row.ended_at) for row in found] == [("failed", START + timedelta(seconds=2))]


def test_verbs_of_types() -> None:
    assert verb_of("jobyard.job.started.v1") == "started"
    assert verb_of("odd") == "odd"
