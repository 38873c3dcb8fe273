"""`archive.inspect`: what is in an archive, and is it safe to unpack?"""

from __future__ import annotations

from collections import Counter
from typing import Any

from jobyard.author import Context, Slot, tool
from pydantic import BaseModel, ConfigDict, Field

GIB = 2**30
ARCHIVE_TYPES = ("application/zip", "application/x-tar", "application/gzip", "application/x-bzip2", "application/x-xz")


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid")

    list_members: int = Field(default=200, ge=0, le=500, description="how many members the result lists")
    max_members: int = Field(default=10_000, ge=1, le=1_000_000, description="more fail the job")
    max_ratio: float = Field(default=100, ge=1, le=10_000, description="a higher ratio of unpacked to packed fails it")
    max_total_bytes: int = Field(default=10 * GIB, ge=1, le=100 * GIB, description="more unpacked bytes fail the job")


@tool(
    "archive.inspect",
    version="1",
    title="Inspect an archive",
    slots={
        "archive": Slot(content_types=ARCHIVE_TYPES, description="zip, tar, tar.gz, tar.bz2, tar.xz, gz, bz2 or xz")
    },
    timeout_s=1800,
    limits={"members": 1_000_000, "total_bytes": 100 * GIB},
    examples=({"list_members": 20},),
)
def inspect(ctx: Context, params: Params) -> dict[str, Any]:
    """Members, sizes, ratio, and what would be dangerous about unpacking: traversal, links, devices, bombs.

    Nothing is unpacked to disk. `members.ndjson` lists every member. An archive beyond the limits fails the job with
    the code `bomb` as soon as that is known.
    """
    from jobyard_executor.tools.archive.listing import Inspection

    return Inspection(ctx, params).run()


def summary(form: str, *, packed: int, counts: Counter[str], flags: Counter[str], total: int) -> dict[str, Any]:
    """The head of the result."""
    return {
        "format": form,
        "packed_bytes": packed,
        "total_bytes": total,
        "ratio": round(total / max(packed, 1), 2),
        "members": sum(counts.values()),
        "kinds": dict(counts),
        "flags": dict(flags),
        "safe": not flags,
    }
