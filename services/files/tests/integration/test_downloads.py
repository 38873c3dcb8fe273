"""Bytes come back as they went: whole, in ranges, under conditions, and never as a page of ours."""

from __future__ import annotations

import base64
import hashlib
import random

import pytest

TUS = {"Tus-Resumable": "1.0.0"}
CONTENT = random.Random(7).randbytes(3_000_000)


def b64(text):
    return base64.b64encode(text.encode()).decode()


def upload(client, content, *, name="noise.bin", kind="application/octet-stream"):
    made = client.post(
        "/v1/files",
        headers=TUS
        | {
            "Upload-Length": str(len(content)),
            "Upload-Metadata": f"filetype {b64(kind)},filename {b64(name)}",
            "Content-Type": "application/offset+octet-stream",
        },
        content=content,
    )
    assert made.status_code == 201, made.text
    return made.headers["Location"]


@pytest.fixture
def uploaded(files):
    with files.client() as client:
        yield client, upload(client, CONTENT)


SIZE = len(CONTENT)
RANGES = [
    (None, 200, CONTENT),
    ("bytes=1000-1999", 206, CONTENT[1000:2000]),
    ("bytes=0-0", 206, CONTENT[:1]),
    ("bytes=0-", 206, CONTENT),
    ("bytes=-1", 206, CONTENT[-1:]),
    ("bytes=-1000", 206, CONTENT[-1000:]),
    (f"bytes=-{SIZE * 2}", 206, CONTENT),
    (f"bytes={SIZE - 1}-", 206, CONTENT[-1:]),
    (f"bytes=0-{10**18}", 206, CONTENT),
    ("BYTES = 0-1", 206, CONTENT[:2]),
    (f"bytes={SIZE}-", 416, None),
    (f"bytes={'9' * 19}-", 416, None),
    ("bytes=-0", 416, None),
    ("bytes=5-4", 200, CONTENT),
    ("bytes=0-1,4-5", 200, CONTENT),
    ("bytes=a-b", 200, CONTENT),
    ("bytes=-", 200, CONTENT),
    ("bytes=1-2-3", 200, CONTENT),
    ("items=0-5", 200, CONTENT),
    ("bytes=" + "9" * 500 + "-", 200, CONTENT),
]


def test_ranges(uploaded):
    client, url = uploaded
    wrong = []
    for header, status, want in RANGES:
        answer = client.get(f"{url}/content", headers={} if header is None else {"Range": header})
        if answer.status_code != status or (want is not None and answer.content != want):
            wrong.append((header, answer.status_code, len(answer.content)))
        if status == 416 and answer.headers["Content-Range"] != f"bytes */{SIZE}":
            wrong.append((header, answer.headers))
    assert wrong == []
    part = client.get(f"{url}/content", headers={"Range": "bytes=1000-1999"})
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{SIZE}"


def test_conditions(uploaded):
    client, url = uploaded
    etag = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    whole = client.get(f"{url}/content")
    assert whole.headers["ETag"] == etag
    assert whole.headers["Accept-Ranges"] == "bytes"
    for header in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = client.get(f"{url}/content", headers={"If-None-Match": header})
        assert (answer.status_code, answer.content) == (304, b"")
    assert client.get(f"{url}/content", headers={"If-None-Match": '"other"'}).status_code == 200
    ranged = {"Range": "bytes=0-9"}
    assert client.get(f"{url}/content", headers=ranged | {"If-Range": etag}).status_code == 206
    for header in ('"other"', f"W/{etag}", "Sat, 29 Oct 1994 19:43:31 GMT"):
        assert client.get(f"{url}/content", headers=ranged | {"If-Range": header}).status_code == 200


def test_head_tells_the_size_and_sends_nothing(uploaded):
    client, url = uploaded
    answer = client.head(f"{url}/content")
    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, str(SIZE), b"")
    part = client.head(f"{url}/content", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.headers["Content-Length"]) == (206, "10")


def test_a_page_is_downloaded_or_locked_in_a_sandbox(files):
    page = b"<html><script>alert(1)</script></html>"
    with files.client() as client:
        url = upload(client, page, name="report.html", kind="text/html")
        saved = client.get(f"{url}/content")
        assert saved.headers["Content-Disposition"] == 'attachment; filename="report.html"'
        shown = client.get(f"{url}/content", params={"disposition": "inline"})
        assert shown.headers["Content-Disposition"] == 'inline; filename="report.html"'
        for answer in (saved, shown):
            assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        drawing = upload(client, b"<svg/>", name="x.svg", kind="image/svg+xml")
        refused = client.get(f"{drawing}/content", params={"disposition": "inline"})
        assert refused.headers["Content-Disposition"].startswith("attachment")


def test_a_name_cannot_break_out_of_its_header(files):
    with files.client() as client:
        url = upload(client, b"x", name='é"; filename=evil.exe\r\nX: y.csv')
        header = client.get(f"{url}/content").headers["Content-Disposition"]
    assert header == (
        'attachment; filename="__; filename=evil.exeX_ y.csv"; '
        "filename*=UTF-8''%C3%A9_%3B%20filename%3Devil.exeX_%20y.csv"
    )


def test_a_client_that_leaves_frees_the_service(uploaded):
    client, url = uploaded
    for _ in range(5):
        with client.stream("GET", f"{url}/content") as answer:
            assert next(answer.iter_raw(1000))
    assert client.get(f"{url}/content").content == CONTENT


def test_the_type_is_told_seen_in_the_name_or_in_the_bytes(files):
    with files.client() as client:
        table = [
            (b"\x89PNG\r\n\x1a\n", "x", "", "image/png"),
            (b"PK\x03\x04", "x", "", "application/zip"),
            (b"PAR1", "x", "", "application/vnd.apache.parquet"),
            (b"plain words", "x", "", "text/plain"),
            (b"\0\1\2", "x", "", "application/octet-stream"),
            (b"a,b", "x.csv", "", "text/csv"),
            (b"a,b", "x.csv", "Text/HTML", "text/html"),
            (b"a,b", "x.csv", "no type", "text/csv"),
        ]
        for content, name, kind, want in table:
            assert client.get(upload(client, content, name=name, kind=kind)).json()["content_type"] == want


def test_the_list_is_paged_and_filtered(files):
    with files.client() as client:
        urls = [upload(client, b"x", name=f"{'even' if n % 2 == 0 else 'odd'}-{n}.csv") for n in range(7)]
        ids = [url.rpartition("/")[2] for url in reversed(urls)]
        found, cursor = [], None
        for _ in range(4):
            page = client.get("/v1/files", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
            found += [row["id"] for row in page["data"]]
            cursor = page["next_cursor"]
            assert page["has_more"] == (cursor is not None)
        assert found == ids
        assert cursor is None
        names = [row["name"] for row in client.get("/v1/files", params={"name": "ODD"}).json()["data"]]
        assert names == ["odd-5.csv", "odd-3.csv", "odd-1.csv"]
        pending = client.post("/v1/files", headers=TUS | {"Upload-Length": "5"}).headers["Location"]
        states = client.get("/v1/files", params=[("state", "uploading")]).json()["data"]
        assert [row["id"] for row in states] == [pending.rpartition("/")[2]]
        assert len(client.get("/v1/files", params=[("state", "uploading"), ("state", "ready")]).json()["data"]) == 8
        assert client.get("/v1/files", params={"job_id": "job_00" + "0" * 26}).json()["data"] == []


def test_a_list_names_every_wrong_parameter(files):
    with files.client() as client:
        bad = {"limit": "0", "cursor": "!", "state": "held", "job_id": "x", "name": "\0", "bogus": "1"}
        answer = client.get("/v1/files", params=bad)
        assert answer.status_code == 422
        assert {row["pointer"] for row in answer.json()["errors"]} == set(bad)
        for limit in ("201", "-1", "1e3", "\u0661", "99999999999999999999"):
            assert client.get("/v1/files", params={"limit": limit}).status_code == 422
        assert client.get("/v1/files?limit=1&limit=2").status_code == 422
