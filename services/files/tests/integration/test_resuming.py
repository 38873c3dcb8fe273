"""Uploads survive: cut connections, real clients, kills, signals, two writers, full disks."""

from __future__ import annotations

import base64
import hashlib
import random
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
from tusclient.client import TusClient

TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = TUS | {"Content-Type": "application/offset+octet-stream"}
MIB = 2**20


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def create(client, length, **headers):
    made = client.post("/v1/files", headers=TUS | {"Upload-Length": str(length)} | headers)
    assert made.status_code == 201, made.text
    return made.headers["Location"]


def offset_of(client, url):
    head = client.head(url, headers=TUS)
    assert head.status_code == 200
    return int(head.headers["Upload-Offset"])


def send(client, url, offset, content):
    return client.patch(url, content=content, headers=OCTETS | {"Upload-Offset": str(offset)})


def hashed(client, url, *, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while (meta := client.get(url).json())["sha256"] is None:
        assert time.monotonic() < deadline, meta
        time.sleep(0.02)
    return meta


class RawPatch:
    """A PATCH on a bare socket, so that the test decides when bytes go and when the line dies."""

    def __init__(self, files, url, *, offset, length):
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=30)
        with files.client() as client:
            own = "".join(f"{name}: {value}\r\n" for name, value in client.headers.items() if name != "host")
        body = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        head = (
            f"PATCH {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{own}Tus-Resumable: 1.0.0\r\n"
            f"Upload-Offset: {offset}\r\nContent-Type: application/offset+octet-stream\r\n{body}\r\n\r\n"
        )
        self.socket.sendall(head.encode())

    def send(self, content):
        self.socket.sendall(content)

    def answer(self):
        return self.socket.recv(65536).decode()

    def close(self):
        self.socket.close()


def tuspy(files, path, *, chunk, url=None):
    with files.client() as client:
        headers = {name: value for name, value in client.headers.items() if name.startswith(("auth", "x-jobyard"))}
    with path.open("rb") as stream:
        uploader = TusClient(f"{files.url}/v1/files", headers=headers).uploader(
            file_stream=stream, chunk_size=chunk, url=url, metadata={"filename": "noise.bin"}
        )
        uploader.upload()
    return uploader.url


@pytest.mark.parametrize("chunk", [MIB, 64 * MIB])
def test_tuspy_uploads(files, tmp_path, chunk):
    content = noise(5 * MIB + 17)
    path = tmp_path / "noise.bin"
    path.write_bytes(content)
    url = tuspy(files, path, chunk=chunk)
    with files.client() as client:
        meta = client.get(url).json()
        assert (meta["sha256"], meta["name"]) == (hashlib.sha256(content).hexdigest(), "noise.bin")
        assert client.get(f"{url}/content").content == content


def test_a_cut_connection_keeps_what_came_and_tuspy_goes_on(files, tmp_path):
    content = noise(8 * MIB, 2)
    path = tmp_path / "noise.bin"
    path.write_bytes(content)
    with files.client() as client:
        url = create(client, len(content))
        patch = RawPatch(files, url, offset=0, length=len(content))
        patch.send(content[: 5 * MIB])
        time.sleep(0.2)
        patch.close()
        kept = offset_of(client, url)
        assert 4 * MIB < kept <= 5 * MIB
        assert send(client, url, kept + 1, b"x").status_code == 409
        tuspy(files, path, chunk=2 * MIB, url=url)
        assert hashed(client, url)["sha256"] == hashlib.sha256(content).hexdigest()
        assert client.get(f"{url}/content").content == content


def test_a_trickle_is_recorded_within_a_second(files):
    with files.client() as client:
        url = create(client, 100)
        patch = RawPatch(files, url, offset=0, length=100)
        patch.send(b"abc")
        deadline = time.monotonic() + 5
        while client.get(url).json()["received"] != 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        patch.send(b"d" * 97)
        assert patch.answer().startswith("HTTP/1.1 204")
        patch.close()
        assert client.get(f"{url}/content").content == b"abc" + b"d" * 97


def test_a_hung_request_is_taken_over_at_once(files):
    content = noise(3 * MIB, 3)
    with files.client() as client:
        url = create(client, len(content))
        hung = RawPatch(files, url, offset=0, length=len(content))
        hung.send(content[:MIB])
        time.sleep(0.1)
        began = time.monotonic()
        kept = offset_of(client, url)
        assert time.monotonic() - began < 1
        assert 0 < kept <= MIB
        assert send(client, url, kept, content[kept:]).status_code == 204
        told = hung.answer()
        assert told.startswith("HTTP/1.1 409") and "upload_taken_over" in told
        hung.close()
        assert hashed(client, url)["sha256"] == hashlib.sha256(content).hexdigest()


def test_of_many_writers_at_one_offset_no_byte_is_mixed(files):
    contents = [noise(2 * MIB, seed) for seed in range(6)]
    statuses = []
    with files.client() as client:
        url = create(client, 2 * MIB)

        def write(content):
            with files.client() as own:
                statuses.append(send(own, url, 0, content).status_code)

        threads = [threading.Thread(target=write, args=(content,)) for content in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) <= {204, 409, 413, 423}
        kept = offset_of(client, url)
        if kept < 2 * MIB:
            assert send(client, url, kept, contents[0][kept:]).status_code == 204
        back = client.get(f"{url}/content").content
        assert len(back) == 2 * MIB
        assert hashed(client, url)["sha256"] == hashlib.sha256(back).hexdigest()
        if kept in (0, 2 * MIB):
            assert back in contents
        else:
            assert any(back[:kept] == content[:kept] for content in contents)


def test_a_body_that_ends_too_early_counts_as_cut(files):
    with files.client() as client:
        url = create(client, 10)
        patch = RawPatch(files, url, offset=0, length=None)
        patch.send(b"3\r\nabc\r\n")
        time.sleep(0.1)
        patch.close()
        assert offset_of(client, url) == 3
        broken = RawPatch(files, url, offset=3, length=None)
        broken.send(b"zz\r\nabc\r\n")
        assert " 400 " in broken.answer()
        broken.close()
        assert offset_of(client, url) == 3


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


def test_a_wrong_base64_name_is_no_server_fault(files):
    with files.client() as client:
        value = base64.b64encode(b"\xff\xfe\x00").decode()
        url = create(client, 0, **{"Upload-Metadata": f"filename {value}"})
        assert client.get(url).status_code == 200
