"""The headers of tus are read strictly, whatever comes."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_files.domain import tus
from jobyard_files.domain.refusals import RETRYABLE, STATUS, Refusal, Refused


def refusal(call, *arguments, **options):
    with pytest.raises(Refused) as caught:
        call(*arguments, **options)
    return caught.value.reason


@pytest.mark.parametrize(
    "text", ["", " ", "-1", "+1", "1_0", "0x1", "1.0", "1e3", "ten", "\u0661", "\u00b2", "1 2", "NaN", "\n1"]
)
def test_numbers_are_ascii_digits_only(text):
    assert refusal(tus.number, "Upload-Offset", text) is Refusal.MALFORMED_HEADER


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("007", 7), (str(2**63 - 1), 2**63 - 1), (str(2**64), 2**63 - 1), ("9" * 20_000, 2**63 - 1)],
)
def test_large_numbers_are_clamped_and_never_an_error_of_ours(text, value):
    assert tus.number("Upload-Length", text) == value


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_refused(text):
    try:
        assert 0 <= tus.number("Upload-Offset", text) < 2**63
    except Refused as refused:
        assert refused.status == 400


def test_lengths():
    assert tus.length_of("5", None, max_size=5) == 5
    assert tus.length_of(None, "1", max_size=5) is None
    assert refusal(tus.length_of, "6", None, max_size=5) is Refusal.TOO_LARGE
    for length, defer in ((None, None), ("5", "1"), (None, "0"), (None, "")):
        assert refusal(tus.length_of, length, defer, max_size=5) is Refusal.MALFORMED_HEADER


@given(st.dictionaries(st.from_regex(r"[a-z0-9_.-]{1,20}", fullmatch=True), st.text(max_size=40), max_size=20))
def test_metadata_comes_back_as_it_was_sent(values):
    header = ", ".join(
        f"{key} {base64.b64encode(value.encode('utf-8', 'replace')).decode()}" for key, value in values.items()
    )
    want = {key: value.encode("utf-8", "replace").decode() for key, value in values.items()}
    assert tus.metadata(header) == want


@given(st.text(max_size=200))
def test_any_metadata_is_read_or_refused(header):
    try:
        tus.metadata(header)
    except Refused as refused:
        assert refused.status == 400


def test_metadata_without_a_value_is_an_empty_text():
    assert tus.metadata("is_confidential, filename YQ==") == {"is_confidential": "", "filename": "a"}


def test_checksums():
    found = tus.checksum("sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=")
    assert found is not None and (found.algorithm, len(found.digest)) == ("sha1", 20)
    assert tus.checksum(None) is None
    for header in ("", "sha1 ???", "crc32 AAAA", "SHA1 AAAA", "\0"):
        assert refusal(tus.checksum, header) is Refusal.MALFORMED_HEADER


def test_every_refusal_has_a_status_that_clients_understand():
    assert set(STATUS) == set(Refusal)
    assert all(400 <= status < 500 or status in (503, 507) for status in STATUS.values())
    assert {STATUS[reason] for reason in RETRYABLE} <= {409, 423, 429, 460, 503}
