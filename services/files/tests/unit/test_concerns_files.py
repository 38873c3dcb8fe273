"""Which events of jobs are looked at: those with a file, and those that nobody can read."""

from __future__ import annotations

import pytest
from jobyard_files.handlers.release_outputs import concerns_files


def event(*, parameters: str = "{}", files: str = '"files":{},', outputs: str = ',"outputs":[]') -> bytes:
    job = f'{{"id":"job_1","parameters":{parameters},{files}"state":"queued"}}'
    return f'{{"job":{job},"tenant":"tnt_a"{outputs}}}'.encode()


@pytest.mark.parametrize(
    ("value", "concerns"),
    [
        pytest.param(event(), False, id="none"),
        pytest.param(event(files="", outputs=""), False, id="members left out"),
        pytest.param(event(files='"files":{"data":"file_1"},'), True, id="an input"),
        pytest.param(event(outputs=',"outputs":["file_1"]'), True, id="an output"),
        pytest.param(event(files='"f\\u0069les" : { "data" : "file_1" },'), True, id="written otherwise"),
        pytest.param(event(parameters='{"files":{"data":"file_1"}}'), False, id="parameters that look like an input"),
        pytest.param(
            event(parameters='{"files":{},"outputs":[]}', files='"files":{"data":"file_1"},'),
            True,
            id="parameters that look like none",
        ),
        pytest.param(event()[:-1], True, id="cut short"),
        pytest.param(event(files='"files":[],'), True, id="another shape"),
        pytest.param(b"", True, id="empty"),
        pytest.param(None, True, id="null"),
        pytest.param(b"\xff", True, id="no text"),
    ],
)
def test_only_events_with_files_are_looked_at(value: bytes | None, concerns: bool) -> None:
    assert concerns_files(value) is concerns
