"""Bytes on a local disk: unfinished uploads as parts, finished ones under their SHA-256.

parts/<2>/<file id>            one growing file an upload or output; locked by whoever writes it
blobs/<2>/<2>/<sha256>         immutable; several files may share one

What is told to anybody was made durable before: bytes by fdatasync, names by fsync of their folder. A blob appears by
a hard link of a whole, synced part, so it is never seen half. All functions here block; callers run them in a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

READ_BLOCK = 1024 * 1024


class PartBusy(Exception):
    """Somebody else, perhaps in another process, is writing this part."""


class BlobMissing(Exception):
    """A file says that its content is here, and it is not: the volume lost data or is the wrong one."""


class Part:
    """The open part of one upload, locked until `close`. Positions are bytes from the start."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # A write may still run in its thread when the request is cancelled; its descriptor must not be reused then.
        self._using = threading.Lock()

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def write(self, block: bytes | bytearray, position: int) -> None:
        """Write all of `block`; raises OSError where the disk does not take it."""
        with self._using:
            view = memoryview(block)
            while view:
                count = os.pwrite(self._descriptor, view, position)
                view, position = view[count:], position + count

    def sync(self) -> None:
        with self._using:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        with self._using:
            os.close(self._descriptor)
            self._descriptor = -1


class Disk:
    """The blob store of one deployment, below `root`."""

    def __init__(self, root: Path) -> None:
        self._parts = root / "parts"
        self._blobs = root / "blobs"

    def prepare(self) -> None:
        for folder in (self._parts, self._blobs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def free_bytes(self) -> int:
        return shutil.disk_usage(self._parts).free

    def open_part(self, file_id: str) -> Part:
        """Open or create a part for writing.

        Raises:
            PartBusy: another writer holds it.
        """
        path = self._part(file_id)
        fresh = not path.exists()
        path.parent.mkdir(exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if fresh:
                _sync_folder(path.parent)
                _sync_folder(self._parts)
        except BlockingIOError:
            os.close(descriptor)
            raise PartBusy(file_id) from None
        except BaseException:
            os.close(descriptor)
            raise
        return Part(descriptor)

    def part_size(self, file_id: str) -> int:
        """Bytes of a part; 0 if there is none."""
        try:
            return self._part(file_id).stat().st_size
        except FileNotFoundError:
            return 0

    def head(self, file_id: str, *, count: int) -> bytes:
        """The first bytes of a part."""
        try:
            with self._part(file_id).open("rb") as part:
                return part.read(count)
        except FileNotFoundError:
            return b""

    def hash_part(self, file_id: str, *, size: int) -> str:
        """SHA-256 of the first `size` bytes of a part.

        Raises:
            BlobMissing: the part is shorter.
        """
        digest, left = hashlib.sha256(), size
        try:
            with self._part(file_id).open("rb") as part:
                while left:
                    block = part.read(min(READ_BLOCK, left))
                    if not block:
                        raise BlobMissing(file_id)
                    digest.update(block)
                    left -= len(block)
        except FileNotFoundError:
            if size:
                raise BlobMissing(file_id) from None
        return digest.hexdigest()

    def link_blob(self, file_id: str, *, sha256: str, size: int) -> None:
        """Make the whole, synced part `file_id` the blob `sha256`; one of the same size that is there stays."""
        part, blob = self._part(file_id), self._blob(sha256)
        if blob.exists() and blob.stat().st_size == size:
            return
        for folder in (blob.parent.parent, blob.parent):
            folder.mkdir(exist_ok=True, mode=0o700)
        if not size and not part.exists():
            self.open_part(file_id).close()
        staged = blob.with_name(f"{sha256}.{file_id}")
        with contextlib.suppress(FileExistsError):
            staged.hardlink_to(part)
        staged.replace(blob)
        for folder in (blob.parent, blob.parent.parent, self._blobs):
            _sync_folder(folder)

    def open_blob(self, sha256: str) -> int:
        """A descriptor for reading; it stays good when the blob is removed.

        Raises:
            BlobMissing: it is not there.
        """
        return _open(self._blob(sha256))

    def open_unsealed(self, file_id: str) -> int:
        """A descriptor for reading a part whose hash is still being made."""
        return _open(self._part(file_id))

    def remove_part(self, file_id: str) -> None:
        self._part(file_id).unlink(missing_ok=True)

    def remove_blob(self, sha256: str) -> None:
        self._blob(sha256).unlink(missing_ok=True)

    def old_parts(self, *, age_s: float) -> Iterator[str]:
        """Ids of parts that nobody wrote for `age_s` seconds."""
        yield from (path.name for path in _old(self._parts.glob("*/*"), age_s))

    def old_blobs(self, *, age_s: float) -> Iterator[str]:
        """Names below blobs/ older than `age_s` seconds: hashes, and staged links that a crash left."""
        yield from (path.name for path in _old(self._blobs.glob("*/*/*"), age_s))

    def remove_staged(self, name: str) -> None:
        """Remove a left-over of `link_blob`, named `<sha256>.<file id>`."""
        (self._blob(name.partition(".")[0]).parent / name).unlink(missing_ok=True)

    def _part(self, file_id: str) -> Path:
        return self._parts / file_id[-2:] / file_id

    def _blob(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256[2:4] / sha256


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BlobMissing(path.name) from None


def _old(paths: Iterator[Path], age_s: float) -> Iterator[Path]:
    limit = time.time() - age_s
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            # A link changes the inode's time, so a part that was just sealed counts as young.
            if max(path.stat().st_mtime, path.stat().st_ctime) < limit:
                yield path


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
