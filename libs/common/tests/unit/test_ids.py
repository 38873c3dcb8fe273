from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_common.contracts import ids

PART = st.text(min_size=0, max_size=20)


def keyed(tenant: str, key: str, *, operation: str = "submit", target: str = "", secret: bytes = b"s") -> str:
    return ids.keyed_id("job", secret, tenant=tenant, operation=operation, target=target, key=key)


def test_unkeyed_ids_sort_by_age_and_begin_with_zero() -> None:
    made = [ids.new_id("job", now_ms=stamp) for stamp in (1, 2, 1_700_000_000_000, 2**47)]
    assert made == sorted(made)
    assert made[2][len("job_00")] == "0"
    assert all(ids.is_id("job", one) and not ids.is_keyed(one) for one in made)


@given(PART, PART, PART, PART)
def test_keyed_ids_never_confuse_where_a_part_ends(tenant: str, key: str, other: str, other_key: str) -> None:
    same = (tenant, key) == (other, other_key)
    assert (keyed(tenant, key) == keyed(other, other_key)) == same


def test_keyed_ids_differ_by_operation_target_and_secret() -> None:
    made = {
        keyed("t", "k"),
        keyed("t", "k", operation="retry"),
        keyed("t", "k", target="job_1"),
        keyed("t", "k", secret=b"other"),
    }
    assert len(made) == 4
    assert all(ids.is_id("job", one) and ids.is_keyed(one) for one in made)


@pytest.mark.parametrize(
    "text", ["", "job_", "job_1", "file_00" + "0" * 26, "job_00" + "8" * 26, "job_00" + "0" * 27, "job_00" + "U" * 26]
)
def test_what_is_no_id(text: str) -> None:
    assert not ids.is_id("job", text)


@given(st.integers(1, ids.MOST_IN_SERIES), st.integers(0, 2**47))
def test_a_series_ascends_and_its_ids_are_like_any_other(count: int, stamp: int) -> None:
    made = [f"job_{tail}" for tail in ids.new_series(count, now_ms=stamp, cell="0A")]
    assert len(set(made)) == count and made == sorted(made)
    assert all(ids.is_id("job", one) and not ids.is_keyed(one) for one in made)
    alone = ids.new_id("job", now_ms=stamp, cell="0A")
    assert {one[:15] for one in made} == {alone[:15]}


def test_two_series_of_one_moment_share_nothing() -> None:
    series = [ids.new_series(50, now_ms=1) for _ in range(50)]
    assert len({tail for tails in series for tail in tails}) == 2_500
    with pytest.raises(ValueError, match="4096"):
        ids.new_series(ids.MOST_IN_SERIES + 1)


@pytest.mark.parametrize("places", [3, 6, 12, 64])
def test_a_series_spreads_over_partitions_and_buckets(places: int) -> None:
    counts = [0] * places
    for _ in range(20):
        for tail in ids.new_series(1_000):
            counts[zlib.crc32(f"job_{tail}".encode()) % places] += 1
    assert min(counts) > 20_000 / places * 0.7 and max(counts) < 20_000 / places * 1.3
