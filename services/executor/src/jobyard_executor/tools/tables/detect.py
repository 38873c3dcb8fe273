"""What kind of table is this? Decided by content; the name's ending only breaks ties."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jobyard.author import ToolError

Format = Literal["csv", "tsv", "json", "ndjson", "parquet"]
HEAD = 256 * 1024
SAMPLE_RECORDS = 50
DELIMITERS = (",", "\t", ";", "|")
BOM = b"\xef\xbb\xbf"
MOST_COLUMNS = 1000

SIGNATURES: Sequence[tuple[bytes, str]] = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"\xff\xfe", "text in UTF-16: save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16: save it as UTF-8"),
)


@dataclass(frozen=True, kw_only=True)
class Detected:
    """`delimiter` and `header` (the names in the first record) are those of CSV and TSV."""

    format: Format
    delimiter: str = ","
    header: tuple[str, ...] = ()


def refuse(code: str, message: str) -> ToolError:
    """A fault of the input: trying again would not help."""
    return ToolError(message, code=code, retryable=False)


def detect(path: Path) -> Detected:
    """Raises ToolError `empty_file`, `unsupported_format`, `encoding` or `not_a_table`."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        whole = not file.read(1)
    if not head.removeprefix(BOM).strip():
        raise refuse("empty_file", "The file is empty: there is no table in it.")
    if head.startswith(b"PAR1"):
        return Detected(format="parquet")
    for signature, name in SIGNATURES:
        if head.startswith(signature):
            raise refuse("unsupported_format", f"The file is no table: it looks like {name}.")
    if b"\x00" in head:
        raise refuse("unsupported_format", "The file is no table: it holds NUL bytes, as binary files do.")
    text = _text(head.removeprefix(BOM), whole=whole)
    first = text.lstrip()[:1]
    if first == "[":
        return Detected(format="json")
    if first == "{":
        return Detected(format="ndjson")
    return _separated(text, path.suffix.lower(), whole=whole)


def _text(head: bytes, *, whole: bool) -> str:
    try:
        return head.decode()
    except UnicodeDecodeError as error:
        if not whole and error.start > len(head) - 4:
            return head[: error.start].decode()
        raise refuse(
            "encoding",
            f"The file is not UTF-8: byte 0x{head[error.start]:02x} at position {error.start:,}. Save it as UTF-8.",
        ) from None


def _separated(text: str, suffix: str, *, whole: bool) -> Detected:
    lines = text.splitlines(keepends=True)
    complete = lines if whole else lines[:-1] or lines
    samples = {delimiter: _records(complete, delimiter, whole=whole) for delimiter in DELIMITERS}
    delimiter = "\t" if suffix in (".tsv", ".tab") and len(samples["\t"][0]) > 1 else _likeliest(samples)
    header = samples[delimiter][0]
    if len(header) > MOST_COLUMNS:
        raise refuse("too_many_columns", f"The table has {len(header):,} columns; {MOST_COLUMNS:,} are the limit.")
    names = tuple(name.strip() or f"column {number}" for number, name in enumerate(header, start=1))
    return Detected(format="tsv" if delimiter == "\t" else "csv", delimiter=delimiter, header=names)


def _records(lines: list[str], delimiter: str, *, whole: bool) -> list[list[str]]:
    """The first records; never empty. A quote left open at the end of a part of a file is no fault."""
    csv.field_size_limit(HEAD * 4)
    records: list[list[str]] = []
    reader = csv.reader(lines, delimiter=delimiter, strict=False)
    try:
        for record in reader:
            if record:
                records.append(record)
            if len(records) >= SAMPLE_RECORDS:
                return records
    except csv.Error as error:
        raise refuse("not_a_table", f"The file cannot be read as CSV: {error}.") from None
    return records[:-1] if len(records) > 1 and not whole else records or [[""]]


def _likeliest(samples: dict[str, list[list[str]]]) -> str:
    """The delimiter that gives every sampled record the same number of fields, the more the better."""

    def merit(delimiter: str) -> tuple[bool, int]:
        widths = [len(record) for record in samples[delimiter]]
        return len(set(widths)) == 1 and widths[0] > 1, widths[0]

    return max(DELIMITERS, key=merit)
