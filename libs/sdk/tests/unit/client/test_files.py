from __future__ import annotations

import asyncio
import hashlib
import os
import random
from pathlib import Path

import pytest
from jobyard import errors
from jobyard.client import AsyncClient, Client, Policy
from jobyard.client.downloading import safe_name
from jobyard.client.testing import FakeYard

MIB = 2**20
CONTENT = random.Random(1).randbytes(3 * MIB + 17)
PATCHES = ("PATCH", r"/v1/files/[^/]+")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_bytes(CONTENT)
    return path


def stored(fake: FakeYard, file_id: str) -> bytes:
    return bytes(fake.yard.files[file_id].content)


def test_up_and_down(client: Client, fake: FakeYard, source: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    file = client.files.upload(source, progress=lambda done, total: seen.append((done, total)))
    assert (file.name, file.size, file.content_type) == ("data.csv", len(CONTENT), "text/csv")
    assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)
    back = tmp_path / "back.csv"
    client.files.download(file.id, back)
    assert back.read_bytes() == CONTENT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.csv", "data.csv", "home"]
    assert [each.id for each in client.files.list()] == [file.id]
    client.files.delete(file.id)
    assert list(client.files.list()) == []


def test_an_empty_file(client: Client, fake: FakeYard, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    file = client.files.upload(tmp_path / "empty")
    client.files.download(file.id, tmp_path / "back")
    assert (file.size, (tmp_path / "back").read_bytes()) == (0, b"")


@pytest.mark.parametrize("after", [0, 1, 100_000, MIB])
def test_an_upload_goes_on_after_cuts(client: Client, fake: FakeYard, source: Path, after: int) -> None:
    fake.fail(*PATCHES, "cut", times=3, after=after)
    file = client.files.upload(source)
    assert stored(fake, file.id) == CONTENT
    assert len(fake.yard.files) == 1


@pytest.mark.parametrize("kind", ["lose", "drop", "status"])
def test_an_upload_goes_on_after_other_faults(client: Client, fake: FakeYard, source: Path, kind: str) -> None:
    fake.fail(*PATCHES, kind, times=2)
    fake.fail("HEAD", PATCHES[1], "drop", times=1)
    file = client.files.upload(source)
    assert stored(fake, file.id) == CONTENT


def test_an_upload_gives_up_without_headway(client: Client, fake: FakeYard, source: Path) -> None:
    fake.fail(*PATCHES, "drop", times=10_000)
    with pytest.raises(errors.Unreachable):
        client.files.upload(source)


def test_another_process_goes_on(fake: FakeYard, source: Path, policy: Policy) -> None:
    fake.fail(*PATCHES, "cut", times=1, after=700_000)
    fake.fail(*PATCHES, "status", times=1, status=403, code="forbidden")
    with Client(fake.url, api_key=fake.api_key, policy=policy) as first, pytest.raises(errors.Forbidden):
        first.files.upload(source)
    seen: list[int] = []
    with Client(fake.url, api_key=fake.api_key, policy=policy) as second:
        file = second.files.upload(source, progress=lambda done, total: seen.append(done))
    assert seen[0] == 700_000
    assert len(fake.yard.files) == 1
    assert stored(fake, file.id) == CONTENT


def test_a_remembered_upload_that_is_gone_is_begun_anew(client: Client, fake: FakeYard, source: Path) -> None:
    fake.fail(*PATCHES, "status", times=1, status=403, code="forbidden")
    with pytest.raises(errors.Forbidden):
        client.files.upload(source)
    next(iter(fake.yard.files.values())).deleted = True
    assert stored(fake, client.files.upload(source).id) == CONTENT


def test_a_changed_file_is_another_upload(client: Client, fake: FakeYard, source: Path) -> None:
    fake.fail(*PATCHES, "cut", times=1, after=MIB)
    fake.fail(*PATCHES, "status", times=1, status=403, code="forbidden")
    with pytest.raises(errors.Forbidden):
        client.files.upload(source)
    source.write_bytes(CONTENT[::-1])
    assert stored(fake, client.files.upload(source).id) == CONTENT[::-1]


def test_the_memory_is_forgotten_after_success(client: Client, source: Path, own_home: Path) -> None:
    client.files.upload(source)
    assert [path for path in own_home.rglob("*.json")] == []


def test_a_home_that_cannot_be_written_costs_only_the_resume(
    client: Client, fake: FakeYard, source: Path, own_home: Path
) -> None:
    (own_home / ".local").write_text("in the way")
    assert stored(fake, client.files.upload(source).id) == CONTENT


def test_a_file_that_changes_meanwhile_is_an_error(client: Client, source: Path) -> None:
    def change(done: int, total: int) -> None:
        os.utime(source, ns=(1, 1))

    with pytest.raises(errors.UploadChanged):
        client.files.upload(source, progress=change)


def test_a_file_that_shrinks_meanwhile_is_an_error(client: Client, source: Path) -> None:
    with pytest.raises(errors.UploadChanged):
        client.files.upload(source, progress=lambda done, total: os.truncate(source, 10))


def test_a_wrong_hash_at_the_server_is_an_error(client: Client, fake: FakeYard, source: Path) -> None:
    def spoil(done: int, total: int) -> None:
        for upload in fake.yard.files.values():
            if upload.content:
                upload.content[0] ^= 1

    with pytest.raises(errors.ContentMismatch):
        client.files.upload(source, progress=spoil)


@pytest.mark.parametrize("after", [0, 1, MIB])
def test_a_download_goes_on_after_cuts(
    client: Client, fake: FakeYard, source: Path, tmp_path: Path, after: int
) -> None:
    file = client.files.upload(source)
    fake.fail("GET", r"/v1/files/[^/]+/content", "cut", times=2, after=after)
    client.files.download(file.id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == CONTENT
    ranges = [headers.get("range") for headers in fake.requests("GET", r"/v1/files/[^/]+/content")]
    assert ranges[-1] == (f"bytes={2 * after}-" if after else None)


def test_a_part_of_an_earlier_process_is_continued(
    client: Client, fake: FakeYard, source: Path, tmp_path: Path
) -> None:
    file = client.files.upload(source)
    (tmp_path / f".back.{file.id}.part").write_bytes(CONTENT[:1000])
    client.files.download(file.id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == CONTENT
    assert fake.requests("GET", r"/v1/files/[^/]+/content")[0]["range"] == "bytes=1000-"


def test_a_spoilt_part_is_found_out(client: Client, source: Path, tmp_path: Path) -> None:
    file = client.files.upload(source)
    part = tmp_path / f".back.{file.id}.part"
    part.write_bytes(b"\0" * 1000)
    with pytest.raises(errors.ContentMismatch):
        client.files.download(file.id, tmp_path / "back")
    assert not part.exists() and not (tmp_path / "back").exists()
    client.files.download(file.id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_begun_anew(client: Client, source: Path, tmp_path: Path) -> None:
    file = client.files.upload(source)
    (tmp_path / f".back.{file.id}.part").write_bytes(b"\0" * (len(CONTENT) + 1))
    client.files.download(file.id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == CONTENT


def test_paths_that_cannot_be_uploaded(client: Client, fake: FakeYard, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, error in (
        (tmp_path, errors.InvalidArgument),
        (tmp_path / "pipe", errors.InvalidArgument),
        (Path("/dev/null"), errors.InvalidArgument),
        (Path("a\0b"), errors.InvalidArgument),
        (tmp_path / "none", FileNotFoundError),
    ):
        with pytest.raises(error):
            client.files.upload(path)
    assert fake.yard.seen == []


def test_paths_that_cannot_be_written(client: Client, source: Path, tmp_path: Path) -> None:
    file = client.files.upload(source)
    for path, error in ((tmp_path, errors.InvalidArgument), (tmp_path / "no" / "way", FileNotFoundError)):
        with pytest.raises(error):
            client.files.download(file.id, path)


def test_a_name_that_is_no_unicode(client: Client, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.csv"))
    path.write_bytes(b"x")
    assert client.files.upload(path).name == "\ufffd\ufffd.csv"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.html", "report.html"),
        ("../../etc/passwd", "passwd"),
        ("a/b/c.txt", "c.txt"),
        ("C:\\x\\y.txt", "y.txt"),
        ("..", "file_1"),
        ("", "file_1"),
        ("///", "file_1"),
        ("a\x1b[31m\n\0b", "a_[31m__b"),
        ("\u202egpj.exe", "_gpj.exe"),
        ("é" * 300, "é" * 100),
    ],
)
def test_names_of_others_stay_in_the_folder(name: str, safe: str) -> None:
    assert safe_name(name, fallback="file_1") == safe


def test_the_async_client_does_the_same(fake: FakeYard, policy: Policy, source: Path, tmp_path: Path) -> None:
    async def both_ways() -> None:
        async with AsyncClient(fake.url, api_key=fake.api_key, policy=policy) as client:
            file = await client.files.upload(source)
            await client.files.download(file.id, tmp_path / "back")

    fake.fail(*PATCHES, "cut", times=2, after=1000)
    fake.fail("GET", r"/v1/files/[^/]+/content", "cut", times=2, after=1000)
    asyncio.run(both_ways())
    assert (tmp_path / "back").read_bytes() == CONTENT
