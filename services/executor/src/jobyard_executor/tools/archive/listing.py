"""One inspection: read every member once, judge it, stop at the first limit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jobyard.author import Context, ToolError

from jobyard_executor.tools.archive import readers
from jobyard_executor.tools.archive.inspect import summary
from jobyard_executor.tools.archive.members import Member, flags, printable, remember, shown

if TYPE_CHECKING:
    from jobyard_executor.tools.archive.inspect import Params

GRACE_BYTES = 16 * 2**20
"""Small archives of repetitive text pack very well; below this size the ratio says nothing."""
ROOM_PER_ENTRY = 20
"""A directory entry holds a name and attributes beside its 46 bytes."""
REPORT_EVERY = 64 * 2**20
LISTED_BYTES = 200 * 1024


class Inspection:
    def __init__(self, ctx: Context, params: Params) -> None:
        self._ctx = ctx
        self._params = params
        self._path = ctx.path_of("archive")
        self._packed = self._path.stat().st_size
        self._total = 0
        self._reported = 0

    def run(self) -> dict[str, Any]:
        form = readers.detect(self._path)
        self._ctx.log.info("reading", format=form, bytes=self._packed)
        kinds: Counter[str] = Counter()
        flagged: Counter[str] = Counter()
        names: set[str] = set()
        listed: list[dict[str, Any]] = []
        room = LISTED_BYTES
        with self._ctx.save_file("members.ndjson").open("w", encoding="utf-8") as file:
            for number, member in enumerate(self._members(form), start=1):
                if number > self._params.max_members:
                    raise self._bomb(f"It has more than {self._params.max_members:,} members.")
                found = flags(member, names=names, highest_ratio=self._params.max_ratio)
                remember(member, names)
                kinds[member.kind.value] += 1
                flagged.update(flag.value for flag in found)
                text = json.dumps(shown(member, found), ensure_ascii=False)
                file.write(text + "\n")
                room -= len(text.encode())
                if len(listed) < self._params.list_members and room > 0:
                    listed.append(shown(member, found))
                if number % 100 == 0:
                    self._ctx.progress(number, None, "members")
                    self._ctx.check()
        for name, times in flagged.items():
            self._ctx.log.warning("suspicious members", flag=name, count=times)
        value = summary(form, packed=self._packed, counts=kinds, flags=flagged, total=self._total)
        return value | {"listed": listed, "listed_all": len(listed) == sum(kinds.values())}

    def _members(self, form: str) -> Iterator[Member]:
        if form == "zip":
            if readers.zip_entries_at_most(self._path) > self._params.max_members * ROOM_PER_ENTRY:
                raise self._bomb(f"Its directory has room for far more than {self._params.max_members:,} members.")
            members = readers.zip_members(self._path, self._count)
        elif form.startswith("tar"):
            members = readers.tar_members(self._path, form, self._count)
        else:
            members = readers.single_member(self._path, form, self._count)
        try:
            yield from members
        except ToolError:
            raise
        except readers.BROKEN as error:
            if "overlapped entries" in str(error).lower():
                # Newer versions of Python refuse a flat bomb before a byte of it is counted.
                raise self._bomb("Its entries overlap: the same bytes would be unpacked again and again.") from None
            raise readers.refuse(
                "broken_archive", f"The archive is broken or cut off: {printable(str(error))[:300]}."
            ) from None

    def _count(self, size: int) -> None:
        """Hear of unpacked bytes; raises `bomb`, and `Stop`."""
        self._total += size
        if self._total > self._params.max_total_bytes:
            raise self._bomb(f"It unpacks to more than {self._params.max_total_bytes:,} bytes.")
        if self._total > GRACE_BYTES and self._total > self._packed * self._params.max_ratio:
            raise self._bomb(f"It unpacks to more than {self._params.max_ratio:g} times its size.")
        if self._total - self._reported >= REPORT_EVERY:
            self._reported = self._total
            self._ctx.progress(self._total, None, "bytes unpacked")
            self._ctx.check()

    def _bomb(self, why: str) -> ToolError:
        return readers.refuse("bomb", f"The archive was refused. {why}")
