"""What the query parameters of a list mean to the store."""

from __future__ import annotations

import pytest
from jobyard_common.http.problems import Problem
from jobyard_executor.inbound.http_shapes import filters_of
from jobyard_executor.store import listing
from jobyard_executor.store.listing import Filters
from starlette.datastructures import QueryParams


def test_tags_metadata_runs_and_schedules_are_labels() -> None:
    found = filters_of(QueryParams("tag=a&tag=b&metadata.k=v=w&workflow_id=wfr_1&schedule_id=sch_1&state=failed"))
    assert found == Filters(states=["failed"], labels=["t:a", "t:b", "m:k=v=w", "w:wfr_1", "s:sch_1"])


def test_what_no_job_can_be_is_refused() -> None:
    with pytest.raises(Problem):
        filters_of(QueryParams("state=odd"))


def test_a_value_is_never_a_part_of_the_statement() -> None:
    bad = "'); DROP TABLE job; --{}$9"
    filters = Filters([bad], [bad], [bad], [bad], [bad], [bad], [bad])
    related = listing.related(filters)
    assert related is not None
    for source in (related, *listing.by_labels(filters), listing.by_kind([(bad, bad)]), listing.NEWEST):
        sql, parameters = listing.page_query("tnt_1", filters, source, after=None, limit=51)
        assert "DROP" not in sql and parameters[0] == "tnt_1"
        assert sql.count("$") >= len(parameters) and f"${len(parameters)}" in sql
