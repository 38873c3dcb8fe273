"""Parameters that are too large for a submit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jobyard import errors
from jobyard.client import Client
from jobyard.client.claim_check import BODY_LIMIT, FILED_LIMIT, SLOT, claim_check
from jobyard.client.effects import Work
from jobyard.client.models import File
from jobyard.client.testing import FakeYard


def drive(body: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """The submit that comes of `body`, and what was uploaded for it."""
    uploaded: list[bytes] = []

    def upload(path: Path) -> Any:
        uploaded.append(path.read_bytes())
        places.append(path)
        yield from ()
        return File("file_1")

    places: list[Path] = []
    flow = claim_check(body, upload)
    answer: object = None
    try:
        while True:
            effect = flow.send(answer)  # type: ignore[arg-type]
            assert isinstance(effect, Work)
            answer = effect.run()
    except StopIteration as done:
        assert not any(place.exists() for place in places)
        return done.value, uploaded


def test_a_small_submit_is_left_alone() -> None:
    body = {"tool": "t", "parameters": {"value": "x" * 1000}, "files": {"data": "file_9"}}
    assert drive(body) == (body, [])
    without = {"tool": "t", "tags": ["x" * BODY_LIMIT]}
    assert drive(without) == (without, [])


def test_large_parameters_become_a_file_beside_the_others() -> None:
    parameters = {"value": "é" * 200_000, "n": 10**30}
    found, uploaded = drive({"tool": "t", "parameters": parameters, "files": {"data": "file_9"}, "tags": ["a"]})
    assert found == {"tool": "t", "tags": ["a"], "files": {"data": "file_9", SLOT: "file_1"}}
    assert [json.loads(text) for text in uploaded] == [parameters]


def test_what_no_file_may_hold_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(errors.InvalidArgument, match="slots"):
        drive({"tool": "t", "parameters": {"value": "x" * (FILED_LIMIT + 1)}})


def test_the_client_does_it_by_itself(client: Client, fake: FakeYard) -> None:
    client.submit("test.echo", parameters={"value": "x" * 300_000})
    (upload,) = fake.yard.files.values()
    assert (upload.name, upload.kind) == ("parameters.json", "application/json")
    assert json.loads(bytes(upload.content)) == {"value": "x" * 300_000}
    (job,) = fake.yard.jobs.values()
    assert job["files"] == {SLOT: upload.id}
