"""tus 1.0.0 as its clients and its enemies speak it: exact statuses and headers."""

from __future__ import annotations

import base64
import hashlib
from email.utils import parsedate_to_datetime

import pytest

from .tus import OCTETS, TUS, create, hashed, send


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def test_an_upload_becomes_a_file(files):
    content = b"a,b\n1,2\n"
    with files.client() as client:
        url = create(client, len(content), **{"Upload-Metadata": f"filename {b64('t.csv')},filetype {b64('text/csv')}"})
        assert url.startswith(f"{files.url}/v1/files/file_00")
        sent = send(client, url, 0, content)
        assert (sent.status_code, sent.headers["Upload-Offset"]) == (204, "8")
        meta = client.get(url).json()
        expected = ("t.csv", 8, hashlib.sha256(content).hexdigest(), "text/csv", "ready", None)
        assert tuple(meta[k] for k in ("name", "size", "sha256", "content_type", "state", "job_id")) == expected
        assert client.get(f"{url}/content").content == content
        assert [row["id"] for row in client.get("/v1/files").json()["data"]] == [meta["id"]]


def test_options_tell_what_is_offered(files):
    with files.client() as client:
        answer = client.options("/v1/files")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert set(answer.headers["Tus-Extension"].split(",")) == {
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "expiration",
        "termination",
        "checksum",
    }
    assert int(answer.headers["Tus-Max-Size"]) >= 5 * 2**30
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256,md5"


METADATA = "Upload-Metadata"
CREATIONS = [
    ("no tus version", {"Upload-Length": "5"}, 412),
    ("another tus version", {"Upload-Length": "5", "Tus-Resumable": "0.2.2"}, 412),
    ("no length", TUS, 400),
    ("both lengths", TUS | {"Upload-Length": "5", "Upload-Defer-Length": "1"}, 400),
    ("defer is not 1", TUS | {"Upload-Defer-Length": "2"}, 400),
    ("negative", TUS | {"Upload-Length": "-1"}, 400),
    ("a word", TUS | {"Upload-Length": "ten"}, 400),
    ("a plus sign", TUS | {"Upload-Length": "+5"}, 400),
    ("an underscore", TUS | {"Upload-Length": "1_0"}, 400),
    ("hexadecimal", TUS | {"Upload-Length": "0x10"}, 400),
    ("a fraction", TUS | {"Upload-Length": "1.5"}, 400),
    ("empty", TUS | {"Upload-Length": ""}, 400),
    ("2^62", TUS | {"Upload-Length": str(2**62)}, 413),
    ("2^64", TUS | {"Upload-Length": str(2**64)}, 413),
    ("5000 digits", TUS | {"Upload-Length": "9" * 5000}, 413),
    ("metadata is no base64", TUS | {"Upload-Length": "5", METADATA: "filename ???"}, 400),
    ("metadata lacks padding", TUS | {"Upload-Length": "5", METADATA: "filename YQ"}, 400),
    ("a key twice", TUS | {"Upload-Length": "5", METADATA: "a YQ==,a Yg=="}, 400),
    ("an empty key", TUS | {"Upload-Length": "5", METADATA: "a YQ==,,b Yg=="}, 400),
    ("33 keys", TUS | {"Upload-Length": "5", METADATA: ",".join(f"k{n} YQ==" for n in range(33))}, 400),
    ("10,000 keys", TUS | {"Upload-Length": "5", METADATA: ",".join(f"k{n}" for n in range(10_000))}, 400),
    ("9 KiB of metadata", TUS | {"Upload-Length": "5", METADATA: f"k {b64('x' * 7000)}"}, 400),
    ("a body of another type", TUS | {"Upload-Length": "5", "Content-Type": "text/plain"}, 415),
    ("a compressed body", OCTETS | {"Upload-Length": "5", "Content-Encoding": "gzip"}, 415),
]


def test_malformed_creations_get_their_exact_answers(files):
    wrong = []
    with files.client() as client:
        for name, headers, status in CREATIONS:
            body = b"12345" if "Content-Type" in headers else b""
            answer = client.post("/v1/files", headers=headers, content=body)
            if answer.status_code != status or "Location" in answer.headers:
                wrong.append((name, answer.status_code, status))
            elif "text/plain" not in answer.headers["Content-Type"] and answer.json()["status"] != status:
                wrong.append((name, answer.text))
        doubled = [("Tus-Resumable", "1.0.0"), ("Upload-Length", "5"), ("Upload-Length", "6")]
        assert client.post("/v1/files", headers=doubled).status_code == 400
        assert client.get("/v1/files").json()["data"] == []
    assert wrong == []


def test_a_refused_version_is_told_which_one_is_spoken(files):
    with files.client() as client:
        answer = client.post("/v1/files", headers={"Upload-Length": "5"})
    assert (answer.status_code, answer.headers["Tus-Version"]) == (412, "1.0.0")
    assert answer.json()["code"] == "precondition_failed"


def test_malformed_patches_get_their_exact_answers(files):
    with files.client() as client:
        url = create(client, 10)
        table = [
            ("no tus version", {"Upload-Offset": "0", "Content-Type": OCTETS["Content-Type"]}, b"x", 412),
            ("another type", TUS | {"Upload-Offset": "0", "Content-Type": "text/plain"}, b"x", 415),
            ("no type", TUS | {"Upload-Offset": "0"}, b"x", 415),
            ("compressed", OCTETS | {"Upload-Offset": "0", "Content-Encoding": "gzip"}, b"x", 415),
            ("no offset", OCTETS, b"x", 400),
            ("a word", OCTETS | {"Upload-Offset": "x"}, b"x", 400),
            ("negative", OCTETS | {"Upload-Offset": "-1"}, b"x", 400),
            ("ahead", OCTETS | {"Upload-Offset": "3"}, b"x", 409),
            ("far ahead", OCTETS | {"Upload-Offset": "9" * 30}, b"x", 409),
            ("one byte too many", OCTETS | {"Upload-Offset": "0"}, b"x" * 11, 413),
            ("unknown checksum", OCTETS | {"Upload-Offset": "0", "Upload-Checksum": "crc9 AAAA"}, b"x", 400),
            ("checksum is no base64", OCTETS | {"Upload-Offset": "0", "Upload-Checksum": "sha1 ?"}, b"x", 400),
            ("another length", OCTETS | {"Upload-Offset": "0", "Upload-Length": "11"}, b"x", 400),
        ]
        wrong = []
        for name, headers, body, status in table:
            answer = client.patch(url, headers=headers, content=body)
            if answer.status_code != status:
                wrong.append((name, answer.status_code, status))
            if client.head(url, headers=TUS).headers["Upload-Offset"] != "0":
                wrong.append((name, "moved the offset"))
        assert wrong == []
        assert client.patch(url, headers=OCTETS | {"Upload-Offset": "3"}).headers["Upload-Offset"] == "0"


def test_a_chunked_body_past_the_length_is_refused_and_completes_nothing(files):
    with files.client() as client:
        url = create(client, 10)
        answer = send(client, url, 0, iter([b"x" * 10, b"y"]))
        assert answer.status_code == 413
        head = client.head(url, headers=TUS)
        assert int(head.headers["Upload-Offset"]) < 10
        rest = 10 - int(head.headers["Upload-Offset"])
        assert send(client, url, 10 - rest, b"z" * rest).status_code == 204
        assert client.get(f"{url}/content").content == b"z" * 10


def test_head_tells_offset_length_metadata_and_expiry(files):
    with files.client() as client:
        url = create(client, 10, **{"Upload-Metadata": f"flag ,filename {b64('n')}"})
        assert send(client, url, 0, b"abc").status_code == 204
        head = client.head(url, headers=TUS)
        assert head.status_code == 200
        assert head.headers["Upload-Offset"] == "3"
        assert head.headers["Upload-Length"] == "10"
        assert head.headers["Upload-Metadata"] == f"flag ,filename {b64('n')}"
        assert head.headers["Cache-Control"] == "no-store"
        assert parsedate_to_datetime(head.headers["Upload-Expires"]).tzinfo is not None
        assert client.get(url).json()["state"] == "uploading"
        assert client.get(f"{url}/content").status_code == 409
        assert client.head(url).status_code == 412


def test_an_empty_upload_is_complete_at_once(files):
    with files.client() as client:
        url = create(client, 0)
        again = send(client, url, 0, b"")
        assert (again.status_code, again.headers["Upload-Offset"]) == (204, "0")
        meta = client.get(url).json()
        assert (meta["state"], meta["size"], meta["sha256"]) == ("ready", 0, hashlib.sha256().hexdigest())
        content = client.get(f"{url}/content")
        assert (content.status_code, content.content) == (200, b"")
        assert send(client, url, 0, b"x").status_code == 413


def test_creation_brings_the_first_bytes(files):
    with files.client() as client:
        made = client.post("/v1/files", headers=OCTETS | {"Upload-Length": "6"}, content=b"abc")
        assert (made.status_code, made.headers["Upload-Offset"]) == (201, "3")
        assert send(client, made.headers["Location"], 3, b"def").status_code == 204
        assert client.get(f"{made.headers['Location']}/content").content == b"abcdef"
        whole = client.post("/v1/files", headers=OCTETS | {"Upload-Length": "3"}, content=b"xyz")
        assert client.get(whole.headers["Location"]).json()["state"] == "ready"
        long = client.post("/v1/files", headers=OCTETS | {"Upload-Length": "3"}, content=iter([b"xy", b"zz"]))
        assert (long.status_code, "Location" in long.headers) == (413, False)
        assert len(client.get("/v1/files").json()["data"]) == 2


def test_a_deferred_length_is_set_once(files):
    with files.client() as client:
        made = client.post("/v1/files", headers=TUS | {"Upload-Defer-Length": "1"})
        url = made.headers["Location"]
        assert client.head(url, headers=TUS).headers["Upload-Defer-Length"] == "1"
        assert send(client, url, 0, b"abc").status_code == 204
        assert send(client, url, 3, b"d", **{"Upload-Length": "2"}).status_code == 400
        assert send(client, url, 3, b"d", **{"Upload-Length": str(2**62)}).status_code == 413
        assert send(client, url, 3, b"d", **{"Upload-Length": "6"}).status_code == 204
        assert client.head(url, headers=TUS).headers["Upload-Length"] == "6"
        assert send(client, url, 4, b"e", **{"Upload-Length": "7"}).status_code == 400
        assert send(client, url, 4, b"ef").status_code == 204
        assert hashed(client, url)["sha256"] == hashlib.sha256(b"abcdef").hexdigest()


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_a_chunk_with_a_checksum_counts_only_if_it_holds(files, algorithm):
    def checksum(content):
        return {"Upload-Checksum": f"{algorithm} {b64(hashlib.new(algorithm, content).digest())}"}

    with files.client() as client:
        url = create(client, 6)
        assert send(client, url, 0, b"abc", **checksum(b"abc")).status_code == 204
        assert send(client, url, 3, b"xxx", **checksum(b"def")).status_code == 460
        assert client.head(url, headers=TUS).headers["Upload-Offset"] == "3"
        assert send(client, url, 3, b"def", **checksum(b"def")).status_code == 204
        assert hashed(client, url)["sha256"] == hashlib.sha256(b"abcdef").hexdigest()


def test_deleted_is_gone_and_unknown_is_not_found(files):
    with files.client() as client, files.client(tenant="tnt_b") as other:
        url = create(client, 10)
        assert send(client, url, 0, b"abc").status_code == 204
        for method, headers in (
            ("HEAD", TUS),
            ("PATCH", OCTETS | {"Upload-Offset": "3"}),
            ("DELETE", TUS),
            ("GET", {}),
        ):
            assert other.request(method, url, headers=headers).status_code == 404
        assert other.get(f"{url}/content").status_code == 404
        assert client.delete(url, headers=TUS).status_code == 204
        assert client.head(url, headers=TUS).status_code == 410
        assert client.get(url).status_code == 410
        assert client.delete(url, headers=TUS).status_code == 410
        assert send(client, url, 3, b"d").status_code == 410
        for unknown in ("file_0000000000000000", "file_00" + "0" * 26, "..%2f..%2fetc%2fpasswd", "%00", "x" * 2000):
            assert client.head(f"/v1/files/{unknown}", headers=TUS).status_code == 404
            assert client.get(f"/v1/files/{unknown}").status_code == 404
    assert list(files.data_dir.glob(f"parts/*/{url.rpartition('/')[2]}")) == []


def test_a_post_can_stand_for_other_methods(files):
    with files.client() as client:
        url = create(client, 3)
        patched = client.post(
            url, headers=OCTETS | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}, content=b"abc"
        )
        assert patched.status_code == 204
        assert client.post(url, headers=TUS | {"X-HTTP-Method-Override": "DELETE"}).status_code == 204
        assert client.post(url, headers=TUS | {"X-HTTP-Method-Override": "PUT"}).status_code == 400
        assert client.put(url).status_code == 405


def test_only_services_get_in(files):
    with files.client() as client:
        url = create(client, 3)
        for token in ("", "Bearer", "Bearer wrong"):
            answer = client.get(url, headers={"Authorization": token})
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert client.get(url, headers={"X-Jobyard-Actor": "nobody"}).status_code == 400
        assert client.get("/livez", headers={"Authorization": ""}).status_code == 200


NAMES = [
    ("../../etc/passwd", "passwd"),
    ("C:\\temp\\a.txt", "a.txt"),
    ("a\0b.csv", "ab.csv"),
    ("a\r\nSet-Cookie: x.csv", "aSet-Cookie_ x.csv"),
    ("gpj.\u202eexe.csv", "gpj.exe.csv"),
    ("CON.txt", "_CON.txt"),
    ("e\u0301.csv", "\u00e9.csv"),
    ("..", "unnamed"),
    ("   ", "unnamed"),
    ("\u65e5\u672c.csv", "\u65e5\u672c.csv"),
    ("x" * 300 + ".csv", "x" * 251 + ".csv"),
    ('"quoted".csv', "_quoted_.csv"),
]


def test_names_are_shown_and_never_paths(files):
    wrong = []
    with files.client() as client:
        for given, want in NAMES:
            url = create(client, 1, **{"Upload-Metadata": f"filename {b64(given)}"})
            assert send(client, url, 0, b"x").status_code == 204
            name = client.get(url).json()["name"]
            if name != want:
                wrong.append((given, name, want))
            disposition = client.get(f"{url}/content").headers["Content-Disposition"]
            if not disposition.startswith("attachment; filename=") or "\n" in disposition:
                wrong.append((given, disposition))
        not_text = create(client, 1, **{"Upload-Metadata": f"filename {b64(bytes([255, 254]) + b'a.csv')}"})
        assert client.get(not_text).json()["name"].endswith("a.csv")
        rubbish = create(client, 1, **{"Upload-Metadata": f"filename {b64('a')},filetype {b64('text/html; x=<y>')}"})
        assert send(client, rubbish, 0, b"x").status_code == 204
        assert client.get(rubbish).json()["content_type"] == "text/plain"
    assert wrong == []
