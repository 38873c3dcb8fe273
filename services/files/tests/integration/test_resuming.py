"""Uploads survive cut connections, trickles, two writers; a real client goes on where it was."""

from __future__ import annotations

import base64
import hashlib
import threading
import time

import pytest
from tusclient.client import TusClient

from .tus import MIB, RawPatch, create, hashed, noise, offset_of, send


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


def test_a_wrong_base64_name_is_no_server_fault(files):
    with files.client() as client:
        value = base64.b64encode(b"\xff\xfe\x00").decode()
        url = create(client, 0, **{"Upload-Metadata": f"filename {value}"})
        assert client.get(url).status_code == 200
