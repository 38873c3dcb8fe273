"""Headers packed piece by piece are the bytes that packing all of them makes."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from jobyard_common.messaging.header_pack import MOST_JOINED, join_packed, pack_header, pack_headers

HEADERS = st.lists(st.tuples(st.text(max_size=40), st.binary(max_size=300)), max_size=MOST_JOINED)


@given(HEADERS)
def test_the_bytes_do_not_tell_how_they_were_packed(headers: list[tuple[str, bytes]]) -> None:
    joined = join_packed(len(headers), [pack_header(name, value) for name, value in headers])
    assert joined == pack_headers(headers)
    assert msgspec.msgpack.decode(joined, type=list[tuple[str, bytes]]) == headers


def test_a_value_of_any_length_is_packed_alike() -> None:
    for size in (0, 31, 32, 255, 256, 65_535, 65_536):
        headers = [("name", b"x" * size)]
        assert join_packed(1, [pack_header("name", b"x" * size)]) == pack_headers(headers)
