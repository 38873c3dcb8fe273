from __future__ import annotations

from typing import Any

from jobyard.client import Client
from jobyard.client.testing import FakeYard


def test_events_of_all_jobs_one_line_each(logged_in: FakeYard, call: Any) -> None:
    fake = logged_in
    with Client(fake.url, api_key=fake.api_key) as client:
        made = client.submit("test.echo").id
    told = call("events", "--count", "3", "--json")
    assert (told.code, [line["event"] for line in told.lines]) == (0, ["job.state"] * 3)
    assert {line["data"]["job"]["id"] for line in told.lines} == {made}
    plain = call("events", "--after", "2", "--count", "1", "--tool", "test.echo")
    assert plain.code == 0 and made in plain.stdout and "succeeded" in plain.stdout


def test_a_wrong_filter_is_wrong_usage(logged_in: FakeYard, call: Any) -> None:
    assert call("events", "--metadata", "novalue").code == 2
    assert call("events", "--count", "0").code == 2
