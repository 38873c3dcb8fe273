"""How the whole is judged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from jobyard_monitor.domain.system import REQUIRED, Answer, Beat, Status, late, overall, services

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def beat(service: str, age_s: float, *, status: str = "ok", instance: str = "a") -> Beat:
    return Beat(service, instance, "1", NOW - timedelta(hours=1), NOW - timedelta(seconds=age_s), status)


def others(*but: str) -> list[Beat]:
    return [beat(name, 1) for name in REQUIRED if name not in but]


def judged(*beats: Beat, answer: Answer = Answer.UNASKED) -> tuple[Status, Status]:
    views = services([*others("files"), *beats], {"files": answer}, now=NOW)
    return next(view.status for view in views if view.name == "files"), overall(views)


@pytest.mark.parametrize(
    ("age_s", "said", "answer", "files", "whole"),
    [
        (1, "ok", Answer.UNASKED, Status.OK, Status.OK),
        (1, "degraded", Answer.UNASKED, Status.DEGRADED, Status.DEGRADED),
        (1, "down", Answer.UNASKED, Status.DOWN, Status.DOWN),
        (1, "rubbish", Answer.UNASKED, Status.DEGRADED, Status.DEGRADED),
        (3.5, "ok", Answer.REFUSED, Status.DOWN, Status.DOWN),
        (3.5, "ok", Answer.ALIVE, Status.OK, Status.OK),
        (3.5, "ok", Answer.SILENT, Status.OK, Status.OK),
        (9, "ok", Answer.UNASKED, Status.OK, Status.OK),
        (11, "ok", Answer.ALIVE, Status.DEGRADED, Status.DEGRADED),
        (11, "ok", Answer.SILENT, Status.DOWN, Status.DOWN),
        (11, "ok", Answer.UNASKED, Status.DOWN, Status.DOWN),
        (1, "ok", Answer.REFUSED, Status.OK, Status.OK),
    ],
)
def test_one_instance(age_s: float, said: str, answer: Answer, files: Status, whole: Status) -> None:
    assert judged(beat("files", age_s, status=said), answer=answer) == (files, whole)


def test_a_service_that_never_beat() -> None:
    assert judged(answer=Answer.REFUSED) == (Status.DOWN, Status.DOWN)
    assert judged(answer=Answer.ALIVE) == (Status.DEGRADED, Status.DEGRADED)


def test_a_replaced_instance_does_not_count() -> None:
    assert judged(beat("files", 1, instance="new"), beat("files", 60, instance="old")) == (Status.OK, Status.OK)


def test_all_four_are_always_listed_and_others_when_heard_of() -> None:
    views = services([beat("archiver", 1), beat("ghost", 3600)], {}, now=NOW)
    assert [view.name for view in views] == [*REQUIRED, "archiver"]


def test_a_stranger_that_is_down_leaves_the_whole_ok() -> None:
    views = services([*others(), beat("archiver", 60)], {}, now=NOW)
    assert overall(views) is Status.OK


def test_only_services_that_missed_a_beat_are_asked() -> None:
    assert late([*others("files"), beat("files", 4)], now=NOW) == {"files"}
    assert late([*others("files"), beat("files", 4), beat("files", 1, instance="b")], now=NOW) == set()
