from __future__ import annotations

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
