"""archive.inspect against honest and hostile archives."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobyard.author import Cancelled, ToolError
from jobyard.author.errors import CANCEL
from jobyard.author.testing import Trial
from jobyard_executor.tools.archive.inspect import inspect

Make = Callable[..., Trial]
FILES = {"a.txt": b"hello\n" * 100, "folder/b.bin": random.Random(1).randbytes(5000), "empty": b""}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def trial(content: bytes, **parameters: Any) -> Trial:
        path = tmp_path / "archive"
        path.write_bytes(content)
        return Trial(inspect, parameters, folder=tmp_path, files={"archive": path})

    return trial


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(*members: tarfile.TarInfo, mode: str = "w", files: dict[str, bytes] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in (files or {}).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip(method: int, make: Make) -> None:
    trial = make(zipped(FILES, method))
    value = trial.run()
    assert (value["format"], value["members"], value["safe"]) == ("zip", 3, True)
    assert value["total_bytes"] == sum(map(len, FILES.values()))
    assert {entry["name"]: entry["size"] for entry in value["listed"]} == {n: len(c) for n, c in FILES.items()}
    lines = [json.loads(line) for line in trial.outputs["members.ndjson"].splitlines()]
    assert lines == value["listed"]


@pytest.mark.parametrize(("mode", "form"), [("w", "tar"), ("w:gz", "tar.gz"), ("w:bz2", "tar.bz2"), ("w:xz", "tar.xz")])
def test_tar(mode: str, form: str, make: Make) -> None:
    value = make(tarred(special("dir", tarfile.DIRTYPE), mode=mode, files=FILES)).run()
    assert (value["format"], value["members"], value["safe"]) == (form, 4, True)
    assert value["kinds"] == {"file": 3, "folder": 1}
    assert value["listed"][0]["size"] == 600
    assert value["total_bytes"] >= sum(map(len, FILES.values()))


@pytest.mark.parametrize(("pack", "form"), [(gzip.compress, "gz"), (bz2.compress, "bz2"), (lzma.compress, "xz")])
def test_one_packed_file(pack: Callable[[bytes], bytes], form: str, make: Make) -> None:
    value = make(pack(b"just text " * 1000)).run()
    assert (value["format"], value["members"], value["total_bytes"]) == (form, 1, 10_000)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("../etc/passwd", "traversal"),
        ("a/../../b", "traversal"),
        ("..\\windows", "traversal"),
        ("/etc/passwd", "absolute_path"),
        ("C:\\autoexec.bat", "absolute_path"),
        ("\\\\server\\share", "absolute_path"),
        ("a\x1b[31mb", "control_characters"),
    ],
)
def test_names_that_lead_out(name: str, flag: str, make: Make) -> None:
    for content in (tarred(files={"ok": b"", name: b"x"}), zipped({"ok": b"", name: b"x"})):
        value = make(content).run()
        assert (value["safe"], value["flags"]) == (False, {flag: 1})
        assert "\x1b" not in json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize(
    ("member", "flags"),
    [
        (special("a", tarfile.SYMTYPE, "b"), {"link": 1}),
        (special("a", tarfile.SYMTYPE, "../b"), {"link": 1, "link_escapes": 1}),
        (special("d/a", tarfile.SYMTYPE, "../b"), {"link": 1}),
        (special("d/a", tarfile.SYMTYPE, "../../b"), {"link": 1, "link_escapes": 1}),
        (special("a", tarfile.SYMTYPE, "/etc"), {"link": 1, "link_escapes": 1}),
        (special("d/a", tarfile.LNKTYPE, "../etc"), {"link": 1, "link_escapes": 1}),
        (special("a", tarfile.LNKTYPE, "ok"), {"link": 1}),
        (special("a", tarfile.CHRTYPE), {"special_file": 1}),
        (special("a", tarfile.BLKTYPE), {"special_file": 1}),
        (special("a", tarfile.FIFOTYPE), {"special_file": 1}),
    ],
)
def test_links_and_devices(member: tarfile.TarInfo, flags: dict[str, int], make: Make) -> None:
    assert make(tarred(member, files={"ok": b"x"})).run()["flags"] == flags


def test_setuid_and_doubles(make: Make) -> None:
    strong = special("strong", tarfile.REGTYPE)
    strong.mode = 0o4755
    value = make(tarred(strong, special("OK", tarfile.REGTYPE), files={"ok": b"x"})).run()
    assert value["flags"] == {"setuid": 1, "duplicate_name": 1}


def test_a_link_in_a_zip(make: Make) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("a")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    value = make(out.getvalue()).run()
    assert value["flags"] == {"link": 1, "link_escapes": 1}
    assert value["listed"][0]["target"] == "/etc/passwd"


def test_an_encrypted_member_is_listed_unread(make: Make) -> None:
    content = bytearray(zipped({"secret": b"x" * 50}, zipfile.ZIP_STORED))
    content[content.index(b"PK\x03\x04") + 6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    value = make(bytes(content)).run()
    assert value["flags"] == {"encrypted": 1}


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(bytes(64 * 2**20)),
        bz2.compress(bytes(64 * 2**20)),
        lzma.compress(bytes(64 * 2**20)),
        zipped({"zeros": bytes(64 * 2**20)}),
        tarred(mode="w:gz", files={"zeros": bytes(64 * 2**20)}),
    ],
    ids=("gz", "bz2", "xz", "zip", "tar.gz"),
)
def test_a_bomb_is_refused(content: bytes, make: Make) -> None:
    with pytest.raises(ToolError, match="more than 100 times its size") as caught:
        make(content).run()
    assert (caught.value.code, caught.value.retryable) == ("bomb", False)


def test_a_zip_that_lies_about_its_sizes(make: Make) -> None:
    content = bytearray(zipped({"zeros": bytes(40 * 2**20)}))
    for magic, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.index(magic) + at
        content[start : start + 4] = struct.pack("<I", 10)
    with pytest.raises(ToolError) as caught:
        make(bytes(content)).run()
    assert caught.value.code in ("bomb", "broken_archive")


def test_the_same_bytes_many_times_are_counted_each_time(make: Make) -> None:
    """Entries that overlap (a flat bomb) are read, and so counted, one by one."""
    single = zipped({"x": bytes(4 * 2**20)})
    directory = single.index(b"PK\x01\x02")
    entry = single[directory : single.index(b"PK\x05\x06")]
    count = 500
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(entry) * count, directory, 0)
    with pytest.raises(ToolError) as caught:
        make(single[:directory] + entry * count + end).run()
    assert caught.value.code == "bomb"


def test_limits_are_parameters(make: Make) -> None:
    many = {f"f{n}": b"x" for n in range(30)}
    with pytest.raises(ToolError, match="more than 20 members"):
        make(zipped(many), max_members=20).run()
    with pytest.raises(ToolError, match="more than 1,000 bytes"):
        make(tarred(files=many), max_total_bytes=1000).run()
    value = make(zipped(many), max_members=30, list_members=5).run()
    assert (value["members"], len(value["listed"]), value["listed_all"]) == (30, 5, False)


def test_a_directory_with_room_for_millions_is_not_even_read(make: Make) -> None:
    entries = b"PK\x01\x02" + bytes(42)
    count = 60_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(entries) * count, 0, 0)
    with pytest.raises(ToolError, match="room for far more") as caught:
        make(entries * count + end, max_members=100).run()
    assert caught.value.code == "bomb"


def test_a_gigantic_header_is_not_kept_in_memory(make: Make) -> None:
    header = special("x", tarfile.XHDTYPE)
    header.size = 512 * 2**20
    content = gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + bytes(4 * 2**20))
    with pytest.raises(ToolError) as caught:
        make(tarred(files={"ok": b"x"})[:1024] + header.tobuf(tarfile.USTAR_FORMAT) + bytes(2**20)).run()
    assert caught.value.code == "broken_archive"
    with pytest.raises(ToolError):
        make(content).run()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"just text", "unsupported_format"),
        (b"\x89PNG\r\n\x1a\n", "unsupported_format"),
        (bytes(10240), "unsupported_format"),
        (gzip.compress(random.Random(1).randbytes(5000))[:-200], "broken_archive"),
        (b"\x1f\x8b\x08 and then nothing sensible", "broken_archive"),
        (b"BZh9 no", "broken_archive"),
        (b"\xfd7zXZ\x00 no", "broken_archive"),
        (tarred(mode="w:gz", files=FILES)[:-3000], "broken_archive"),
        (tarred(files=FILES)[:3000], "broken_archive"),
    ],
    ids=("empty", "text", "png", "zeros", "gz cut", "gz", "bz2", "xz", "tar.gz cut", "tar cut"),
)
def test_what_is_no_archive_is_refused(content: bytes, code: str, make: Make) -> None:
    with pytest.raises(ToolError) as caught:
        make(content).run()
    assert (caught.value.code, caught.value.retryable) == (code, False)


def test_a_zip_with_a_wrong_checksum(make: Make) -> None:
    content = bytearray(zipped({"x": b"abcdefgh" * 100}, zipfile.ZIP_STORED))
    content[100] ^= 0xFF
    with pytest.raises(ToolError) as caught:
        make(bytes(content)).run()
    assert caught.value.code == "broken_archive"


def test_nothing_is_unpacked(make: Make, tmp_path: Path) -> None:
    make(zipped(FILES)).run()
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"members.ndjson"}


def test_a_cancel_is_heard(make: Make) -> None:
    trial = make(zipped({f"f{n}": b"x" for n in range(500)}))
    trial.backend.stop = CANCEL
    with pytest.raises(Cancelled):
        trial.run()
