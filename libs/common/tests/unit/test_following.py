"""When a read model reads next."""

from __future__ import annotations

import pytest
from jobyard_common.messaging.following import pause_after


@pytest.mark.parametrize(
    ("records", "pause"),
    [
        pytest.param(1, 0.101, id="little to read: at once, but for the least"),
        pytest.param(200, 0.3, id="the more, the later"),
        pytest.param(4_000, 0.5, id="never later than this"),
        pytest.param(5_000, 0.0, id="a full batch: there is more"),
    ],
)
def test_the_pause_grows_with_what_there_was_to_read(records: int, pause: float) -> None:
    assert pause_after(records, most=5_000, least_s=0.1, longest_s=0.5) == pytest.approx(pause)
