"""Which way a later command of a job takes."""

from __future__ import annotations

import pytest
from jobyard_gateway.domain.keeping import Way, way_of_later


@pytest.mark.parametrize(
    ("waits", "needs_order", "want"),
    [
        (True, True, Way.SPOOL),
        (True, False, Way.SPOOL),
        (False, True, Way.PUBLISH),
        (None, True, Way.REFUSE),
        (None, False, Way.PUBLISH),
    ],
)
def test_a_later_command_goes_behind_what_waits(waits: bool | None, needs_order: bool, want: Way) -> None:
    assert way_of_later(waits, needs_order=needs_order) is want
