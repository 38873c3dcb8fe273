"""Media types: what the sender says if it is one, else what the name or the first bytes suggest.

Only the first bytes are looked at, against constants; nothing is parsed.
"""

from __future__ import annotations

import codecs
import re

UNKNOWN = "application/octet-stream"
SNIFF_BYTES = 512
_TYPE = re.compile(
    r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}"
    r"(?:\s*;\s*[a-z0-9!#$&^_.+-]{1,32}=(?:[a-z0-9!#$&^_.+-]{1,64}))?",
    re.ASCII,
)
_BY_EXTENSION = {
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "txt": "text/plain",
    "log": "text/plain",
    "md": "text/markdown",
    "html": "text/html",
    "htm": "text/html",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "jsonl": "application/x-ndjson",
    "xml": "application/xml",
    "svg": "image/svg+xml",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
    "zip": "application/zip",
    "gz": "application/gzip",
    "tar": "application/x-tar",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
}
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"\x7fELF", "application/x-elf"),
)
RASTER = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Shown in a page without further care: no format of these can carry a script."""
DOCUMENTS = frozenset({"text/html", "text/plain", "application/json", "text/csv"})
"""Shown in a page on request, inside a sandbox without scripts, origin or network."""


def declared(text: str | None) -> str | None:
    """A media type as its sender wrote it, in lower case; None where it is not one."""
    if text is None:
        return None
    lowered = text.strip().lower()
    return lowered if _TYPE.fullmatch(lowered) else None


def from_name(name: str) -> str | None:
    return _BY_EXTENSION.get(name.rpartition(".")[2].lower()) if "." in name else None


def from_bytes(head: bytes) -> str:
    """What the first bytes look like; text is called plain text."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head and b"\0" not in head and _begins_as_text(head):
        return "text/plain"
    return UNKNOWN


def _begins_as_text(head: bytes) -> bool:
    """Whether this is UTF-8, apart from a last character that may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def essence(content_type: str) -> str:
    """The type without its parameters."""
    return content_type.partition(";")[0].strip()
