"""Reading archives as streams of members. Sizes are measured, never believed: a header may say anything."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Self, cast

from jobyard.author import ToolError

from jobyard_executor.tools.archive.members import Kind, Member

CHUNK = 256 * 1024
Count = Callable[[int], None]
"""Hears of every unpacked byte; raises when there are too many."""

BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
    OverflowError,
    RecursionError,
    MemoryError,
)
STREAMS: dict[str, Any] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
MAGICS = ((b"\x1f\x8b", "gz"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz"))
EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
LARGEST_HEADER = 2**20
ZIP_TAIL = 65_535 + 22 + 20
ZIP_ENTRY = 46
"""No entry of a zip's directory is shorter."""
TAR_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.GNUTYPE_SPARSE: Kind.FILE,
    tarfile.DIRTYPE: Kind.FOLDER,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.CHRTYPE: Kind.DEVICE,
    tarfile.BLKTYPE: Kind.DEVICE,
    tarfile.FIFOTYPE: Kind.FIFO,
}


def detect(path: Path) -> str:
    """`zip`, `tar`, `tar.gz`, …, or `gz`, `bz2`, `xz` for one compressed file. Raises ToolError."""
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise refuse("empty_file", "The file is empty: there is no archive in it.")
    for magic, packing in MAGICS:
        if head.startswith(magic):
            return f"tar.{packing}" if _holds_tar(path, packing) else packing
    if zipfile.is_zipfile(path):
        return "zip"
    if _is_tar_header(_head_of(path.open("rb"))):
        return "tar"
    raise refuse("unsupported_format", "The file is no archive that can be read here (zip, tar, gz, bz2, xz).")


def zip_entries_at_most(path: Path) -> int:
    """An upper bound of a zip's members, from the size of its directory: to be asked before the directory is read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = max(size - ZIP_TAIL, 0)
        file.seek(start)
        tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) - at < 22:
            return 0
        directory = int.from_bytes(tail[at + 12 : at + 16], "little")
        if directory == 0xFFFFFFFF and at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":
            file.seek(min(int.from_bytes(tail[at - 12 : at - 4], "little"), size))
            directory = int.from_bytes(file.read(48)[40:48], "little")
    return min(directory, size) // ZIP_ENTRY


def zip_members(path: Path, count: Count) -> Iterator[Member]:
    """Every member of the central directory; what is not encrypted is read through `count`."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            encrypted = bool(info.flag_bits & 0x1)
            size = info.file_size
            if not info.is_dir() and not encrypted:
                with archive.open(info) as content:
                    size = _drained(content, count)
            yield Member(
                name=info.orig_filename or info.filename,
                kind=_zip_kind(info, mode),
                size=size,
                packed=info.compress_size,
                modified=_zip_time(info),
                mode=mode or None,
                target=_zip_target(archive, info) if stat.S_ISLNK(mode) and not encrypted else None,
                encrypted=encrypted,
            )


def tar_members(path: Path, form: str, count: Count) -> Iterator[Member]:
    """Every member, read front to back; `count` hears of all that is unpacked, headers and padding too."""
    packing = form.removeprefix("tar").removeprefix(".")
    with (
        _unpacked(path, packing, count) as stream,
        tarfile.open(fileobj=stream, mode="r|", tarinfo=_Bounded) as archive,
    ):
        for info in archive:
            yield Member(
                name=info.name,
                kind=TAR_KINDS.get(info.type, Kind.OTHER),
                size=info.size if info.isreg() else 0,
                modified=_time(info.mtime),
                mode=info.mode,
                target=info.linkname if info.issym() or info.islnk() else None,
            )
            cast(Any, archive).members = []  # a stream is read once; kept members would only fill the memory


def single_member(path: Path, form: str, count: Count) -> Iterator[Member]:
    """The one file that is packed in a .gz, .bz2 or .xz."""
    with _unpacked(path, form, count) as stream:
        size = 0
        while chunk := stream.read(CHUNK):
            size += len(chunk)
    yield Member(name="", kind=Kind.FILE, size=size, packed=path.stat().st_size)


def refuse(code: str, message: str) -> ToolError:
    """A fault of the input: trying again would not help."""
    return ToolError(message, code=code, retryable=False)


class _Bounded(tarfile.TarInfo):
    """Headers of long names and attributes are read into memory, so their size is limited."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.type in EXTENDED and found.size > LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {found.size:,} bytes")
        return found


class _Counted:
    """A stream that tells how much was read from it."""

    def __init__(self, stream: IO[bytes], count: Count) -> None:
        self._stream = stream
        self._count = count

    def read(self, size: int = CHUNK) -> bytes:
        data = self._stream.read(min(size, CHUNK) if size >= 0 else CHUNK)
        self._count(len(data))
        return data

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _unpacked(path: Path, packing: str, count: Count) -> Any:
    return _Counted(cast(IO[bytes], STREAMS[packing](path, "rb") if packing else path.open("rb")), count)


def _drained(content: IO[bytes], count: Count) -> int:
    size = 0
    while chunk := content.read(CHUNK):
        size += len(chunk)
        count(len(chunk))
    return size


def _holds_tar(path: Path, packing: str) -> bool:
    try:
        return _is_tar_header(_head_of(STREAMS[packing](path, "rb")))
    except BROKEN:
        return False


def _head_of(stream: BufferedReader | Any) -> bytes:
    with stream:
        return cast(bytes, stream.read(tarfile.BLOCKSIZE))


def _is_tar_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def _zip_kind(info: zipfile.ZipInfo, mode: int) -> Kind:
    if info.is_dir():
        return Kind.FOLDER
    if stat.S_ISLNK(mode):
        return Kind.SYMLINK
    if stat.S_ISFIFO(mode):
        return Kind.FIFO
    return Kind.DEVICE if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else Kind.FILE


def _zip_target(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    with archive.open(info) as content:
        return content.read(4096).decode("utf-8", "surrogateescape")


def _zip_time(info: zipfile.ZipInfo) -> str | None:
    try:
        return datetime(*info.date_time, tzinfo=None).isoformat()
    except ValueError:
        return None


def _time(seconds: float) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None
