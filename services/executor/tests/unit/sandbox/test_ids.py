from __future__ import annotations

from pathlib import Path

import pytest
from jobyard_executor.sandbox.reach import _outermost, barriers
from jobyard_executor.sandbox.users import read_ids


def test_a_range_of_ids() -> None:
    assert read_ids("200000-265535") == (200_000, 65_536)
    assert read_ids(" 1000 - 1255 ") == (1000, 256)
    assert read_ids("") == (0, 0)


@pytest.mark.parametrize("text", ["x", "200000", "1-", "-5", "0-65535", "1000-1254", "2000-1000", "1000-4294967295"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="user ids"):
        read_ids(text)


def test_paths_within_others_are_left_out() -> None:
    assert _outermost(["/a", "/a-b", "/a/c", "/b/c", "/a"]) == ["/a", "/a-b", "/b/c"]


def test_the_uppermost_private_folder_is_the_barrier(tmp_path: Path) -> None:
    inner = tmp_path / "open" / "private" / "inner" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / "open" / "private").chmod(0o700)
    (tmp_path / "open" / "private" / "inner").chmod(0o700)
    top = barriers([str(tmp_path / "open")])
    found = barriers([str(inner), str(tmp_path / "missing" / "x")])
    expected = next(iter(top), str(tmp_path / "open" / "private"))
    assert found == {expected: [str(inner)]}
