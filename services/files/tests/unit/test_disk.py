"""The blob store: parts are locked, blobs appear whole, removals forget nothing that is open."""

from __future__ import annotations

import errno
import hashlib
import os
import time

import pytest
from jobyard_files.outbound.disk import BlobMissing, Disk, PartBusy

ID = "file_00" + "0" * 26


@pytest.fixture
def disk(tmp_path):
    made = Disk(tmp_path)
    made.prepare()
    return made


def put(disk, content, file_id=ID):
    part = disk.open_part(file_id)
    part.write(content, 0)
    part.sync()
    part.close()
    sha256 = hashlib.sha256(content).hexdigest()
    disk.link_blob(file_id, sha256=sha256, size=len(content))
    return sha256


def read(descriptor):
    with os.fdopen(descriptor, "rb") as opened:
        return opened.read()


def test_a_part_has_one_writer(disk):
    part = disk.open_part(ID)
    with pytest.raises(PartBusy):
        disk.open_part(ID)
    part.close()
    disk.open_part(ID).close()


def test_a_closed_part_takes_no_late_write(disk, tmp_path):
    part = disk.open_part(ID)
    part.close()
    with (tmp_path / "innocent").open("wb"), pytest.raises(OSError, check=lambda error: error.errno == errno.EBADF):
        part.write(b"late", 0)


def test_a_blob_outlives_its_part_and_its_readers_outlive_it(disk):
    sha256 = put(disk, b"content")
    disk.remove_part(ID)
    reader = disk.open_blob(sha256)
    disk.remove_blob(sha256)
    disk.remove_blob(sha256)
    assert read(reader) == b"content"
    with pytest.raises(BlobMissing):
        disk.open_blob(sha256)


def test_equal_contents_share_a_blob(disk, tmp_path):
    sha256 = put(disk, b"content")
    inode = next(tmp_path.glob("blobs/*/*/*")).stat().st_ino
    assert put(disk, b"content", file_id=ID[:-1] + "1") == sha256
    assert [blob.stat().st_ino for blob in tmp_path.glob("blobs/*/*/*")] == [inode]


def test_a_blob_of_a_wrong_size_is_replaced(disk, tmp_path):
    sha256 = put(disk, b"content")
    disk.remove_part(ID)
    next(tmp_path.glob("blobs/*/*/*")).write_bytes(b"con")
    put(disk, b"content")
    assert read(disk.open_blob(sha256)) == b"content"


def test_a_link_that_a_crash_left_is_used_again(disk, tmp_path):
    part = disk.open_part(ID)
    part.write(b"content", 0)
    part.close()
    sha256 = hashlib.sha256(b"content").hexdigest()
    staged = tmp_path / "blobs" / sha256[:2] / sha256[2:4] / f"{sha256}.{ID}"
    staged.parent.mkdir(parents=True)
    staged.hardlink_to(next(tmp_path.glob("parts/*/*")))
    disk.link_blob(ID, sha256=sha256, size=7)
    assert read(disk.open_blob(sha256)) == b"content"
    assert list(disk.old_blobs(age_s=-10)) == [sha256]


def test_only_old_left_overs_are_listed(disk, tmp_path):
    sha256 = put(disk, b"content")
    assert list(disk.old_parts(age_s=60)) == []
    assert list(disk.old_parts(age_s=-10)) == [ID]
    assert list(disk.old_blobs(age_s=60)) == []
    os.utime(next(tmp_path.glob("parts/*/*")), (0, 0))
    # The link is young whatever its times say: its content has just been sealed.
    assert list(disk.old_blobs(age_s=60)) == []
    assert time.time() - next(tmp_path.glob("blobs/*/*/*")).stat().st_ctime < 60
    disk.remove_staged(f"{sha256}.{ID}")
    assert list(disk.old_blobs(age_s=-10)) == [sha256]


def test_hashing_reads_just_what_was_recorded(disk):
    put(disk, b"content and more")
    assert disk.hash_part(ID, size=7) == hashlib.sha256(b"content").hexdigest()
    assert disk.hash_part("file_x", size=0) == hashlib.sha256().hexdigest()
    for size, file_id in ((17, ID), (1, "file_x")):
        with pytest.raises(BlobMissing):
            disk.hash_part(file_id, size=size)
