"""What a claim may take from memory."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from jobyard_common.contracts.jobs import JobSpec, JobState
from jobyard_executor.domain.job import Job
from jobyard_executor.domain.newborn import LARGEST, Newborn, Newborns

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = JobSpec(tool="t", tool_version="1", isolation="async", min_isolation="L0", timeout_s=1.0)


def newborn(job_id: str, *, spec: str = "{}") -> Newborn:
    job = Job(
        job_id, "t", JobState.QUEUED, None, False, 1, 7, 0, 0, 0, 0, 0, None, None, NOW, None, NOW, None, None, 0, 0,
        False, "c", "", None, None, None, "{}", spec, None, None,
    )  # fmt: skip
    return Newborn(job, SPEC)


def test_a_job_is_taken_once() -> None:
    known = Newborns()
    one = newborn("job_1")
    known.add([one])
    assert known.take("job_1", event_no=1, born_ms=7) is one
    assert known.take("job_1", event_no=1, born_ms=7) is None


@pytest.mark.parametrize(("event_no", "born_ms"), [(2, 7), (1, 8)])
def test_a_job_that_changed_or_was_born_anew_is_not_taken_from_memory(event_no: int, born_ms: int) -> None:
    known = Newborns()
    known.add([newborn("job_1")])
    assert known.take("job_1", event_no=event_no, born_ms=born_ms) is None
    assert len(known) == 0


def test_memory_is_bounded_in_number_and_in_size() -> None:
    known = Newborns(most=3)
    known.add([newborn("job_large", spec="x" * (LARGEST + 1))])
    assert len(known) == 0
    known.add(newborn(f"job_{n}") for n in range(10))
    assert len(known) <= 3
    assert known.take("job_9", event_no=1, born_ms=7) is not None


def test_reading_from_memory_pays_where_most_are_there() -> None:
    known = Newborns()
    known.add(newborn(f"job_{n}") for n in range(3))
    assert known.know(["job_0", "job_1", "job_5"])
    assert not known.know(["job_0", "job_5"])
    assert not known.know([])
