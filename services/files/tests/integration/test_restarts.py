"""Uploads survive kills, signals, lost bytes, full disks and a second process on the same volume."""

from __future__ import annotations

import hashlib
import time

import pytest

from .tus import MIB, TUS, RawPatch, create, hashed, noise, offset_of, send


@pytest.mark.serial
def test_a_killed_service_tells_the_truth_afterwards(make_files):
    content = noise(48 * MIB, 4)
    files = make_files(checkpoint_bytes=str(4 * MIB))
    with files.client() as client:
        url = create(client, len(content))
        told = 0
        for sent in (13 * MIB, 21 * MIB):
            patch = RawPatch(files, url, offset=told, length=len(content) - told)
            patch.send(content[told : told + sent])
            time.sleep(0.3)
            files.kill()
            patch.close()
            files.start()
            offset = offset_of(client, url)
            assert told < offset <= told + sent
            told = offset
        part = next(files.data_dir.glob("parts/*/file_*"))
        assert part.read_bytes()[:told] == content[:told]
        assert send(client, url, told, content[told:]).status_code == 204
        assert hashed(client, url)["sha256"] == hashlib.sha256(content).hexdigest()
        assert client.get(f"{url}/content").content == content
        assert list(files.data_dir.glob("parts/*/file_*")) == []


@pytest.mark.serial
def test_a_kill_between_the_last_byte_and_the_hash_loses_nothing(make_files, database):
    import asyncio

    import asyncpg

    content = noise(MIB, 5)
    files = make_files()
    with files.client() as client:
        url = create(client, len(content))
        assert send(client, url, 0, content[: MIB // 2]).status_code == 204
        files.kill()
        # As if the process had died right after it recorded the last byte.
        part = next(files.data_dir.glob("parts/*/file_*"))
        part.write_bytes(content)

        async def finish():
            db = await asyncpg.connect(files.dsn)
            await db.execute("UPDATE file SET received = size, state = 'hashing', expires_at = NULL")
            await db.close()

        asyncio.run(finish())
        files.start()
        assert hashed(client, url)["sha256"] == hashlib.sha256(content).hexdigest()
        assert client.get(f"{url}/content").content == content


@pytest.mark.serial
def test_bytes_that_the_disk_lost_are_not_told(make_files):
    files = make_files()
    with files.client() as client:
        url = create(client, 10)
        assert send(client, url, 0, b"abcdef").status_code == 204
        next(files.data_dir.glob("parts/*/file_*")).write_bytes(b"abc")
        assert offset_of(client, url) == 3
        assert send(client, url, 6, b"x").status_code == 409
        assert send(client, url, 3, b"DEFGHIJ").status_code == 204
        assert client.get(f"{url}/content").content == b"abcDEFGHIJ"


@pytest.mark.serial
def test_a_stop_cuts_running_uploads_cleanly(make_files):
    content = noise(4 * MIB, 6)
    files = make_files()
    with files.client() as client:
        url = create(client, len(content))
        patch = RawPatch(files, url, offset=0, length=len(content))
        patch.send(content[: 3 * MIB])
        time.sleep(0.3)
        began = time.monotonic()
        assert files.terminate() == 0
        assert time.monotonic() - began < 10
        told = patch.answer()
        assert told.startswith("HTTP/1.1 503") and f"upload-offset: {3 * MIB}" in told.lower()
        patch.close()
    files.start()
    with files.client() as client:
        assert offset_of(client, url) == 3 * MIB
        assert send(client, url, 3 * MIB, content[3 * MIB :]).status_code == 204
        assert hashed(client, url)["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.serial
def test_a_body_without_bytes_is_ended_and_kept(make_files):
    files = make_files(upload_idle_s="1")
    with files.client() as client:
        url = create(client, 100)
        patch = RawPatch(files, url, offset=0, length=100)
        patch.send(b"abc")
        told = patch.answer()
        assert told.startswith("HTTP/1.1 503") and "retry-after: 1" in told.lower()
        patch.close()
        assert offset_of(client, url) == 3


@pytest.mark.serial
def test_a_full_disk_is_told_and_survived(make_files):
    files = make_files()
    with files.client() as client:
        files.limit_file_size(4 * MIB)
        url = create(client, 8 * MIB)
        answer = send(client, url, 0, noise(8 * MIB))
        assert (answer.status_code, answer.json()["code"]) == (507, "insufficient_storage")
        kept = offset_of(client, url)
        assert kept <= 4 * MIB and str(kept) == answer.headers["Upload-Offset"]
        small = create(client, 3)
        assert send(client, small, 0, b"abc").status_code == 204
        files.limit_file_size(-1)
        assert send(client, url, kept, noise(8 * MIB)[kept:]).status_code == 204
        assert hashed(client, url)["sha256"] == hashlib.sha256(noise(8 * MIB)).hexdigest()
    files.kill()
    files.start(JOBYARD_DISK_FLOOR_BYTES=str(2**60))
    with files.client() as client:
        answer = client.post("/v1/files", headers=TUS | {"Upload-Length": "5"})
        assert (answer.status_code, answer.json()["code"]) == (507, "insufficient_storage")


@pytest.mark.serial
def test_two_processes_on_one_volume_never_write_at_once(make_files):
    content = noise(6 * MIB, 8)
    first, second = make_files(), make_files()
    with first.client() as one, second.client() as two:
        url = create(one, len(content))
        patch = RawPatch(first, url, offset=0, length=len(content))
        patch.send(content[: 2 * MIB])
        deadline = time.monotonic() + 10
        there = url.replace(first.url, second.url)
        while (kept := offset_of(two, there)) == 0:
            assert time.monotonic() < deadline
        refused = send(two, there, kept, content[kept:])
        assert refused.status_code == 423
        patch.close()
        kept = offset_of(one, url)
        assert send(two, there, kept, content[kept:]).status_code == 204
        assert hashed(two, there)["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.serial
def test_uploads_are_limited_in_size_and_number(make_files):
    files = make_files(max_upload_bytes="1000", max_open_uploads="3")
    with files.client() as client:
        assert client.options("/v1/files").headers["Tus-Max-Size"] == "1000"
        assert client.post("/v1/files", headers=TUS | {"Upload-Length": "1001"}).status_code == 413
        deferred = client.post("/v1/files", headers=TUS | {"Upload-Defer-Length": "1"}).headers["Location"]
        assert send(client, deferred, 0, iter([b"x" * 600, b"y" * 600])).status_code == 413
        create(client, 10)
        create(client, 10)
        refused = client.post("/v1/files", headers=TUS | {"Upload-Length": "10"})
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
        with files.client(tenant="tnt_b") as other:
            create(other, 10)


@pytest.mark.serial
def test_throughput(make_files, record_property):
    size = 512 * MIB
    block = noise(MIB, 9)
    files = make_files()
    with files.client() as client:
        url = create(client, size)
        patch = RawPatch(files, url, offset=0, length=size)
        began = time.monotonic()
        for _ in range(size // MIB):
            patch.send(block)
        assert patch.answer().startswith("HTTP/1.1 204")
        rate = size / MIB / (time.monotonic() - began)
        patch.close()
        record_property("upload_mib_per_s", round(rate))
        print(f"upload: {rate:.0f} MiB/s")
        meta = client.get(url).json()
        assert meta["sha256"] == hashlib.sha256(block * (size // MIB)).hexdigest()
        began, got = time.monotonic(), 0
        with client.stream("GET", f"{url}/content") as answer:
            for piece in answer.iter_raw(MIB):
                got += len(piece)
        print(f"download: {size / MIB / (time.monotonic() - began):.0f} MiB/s")
        assert got == size
    # A floor that only a broken write path misses, on a machine that does other things too.
    assert rate > 40
