"""What a batch tells of each job, in order and once."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from jobyard_monitor.domain.observed import Observed, stories
from jobyard_monitor.handlers.project_jobs import _observed


def told(records: Any, *numbers: tuple[str, int, int]) -> list[Observed]:
    return [_observed(records.event(job, no, "queued", incarnation=incarnation)) for job, incarnation, no in numbers]


A, B = "job_" + "A" * 28, "job_" + "B" * 28


@pytest.mark.parametrize("order", permutations([(A, 1, 1), (A, 1, 2), (A, 2, 1), (A, 2, 2)]))
def test_events_of_a_job_are_put_in_order(records: Any, order: tuple[tuple[str, int, int], ...]) -> None:
    (story,) = stories(told(records, *order, *order[:2]))
    assert [row.number for row in story] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_of_an_event_that_came_twice_the_first_is_kept(records: Any) -> None:
    first, second, again = told(records, (A, 1, 1), (A, 1, 2), (A, 1, 1))
    (story,) = stories([first, second, again])
    assert story[0] is first
    assert len(story) == 2


def test_stories_are_sorted_by_job(records: Any) -> None:
    found = stories(told(records, (B, 1, 1), (A, 1, 1), (B, 1, 2)))
    assert [(story[0].event.job.id, len(story)) for story in found] == [(A, 1), (B, 2)]
    assert stories([]) == []
