"""Whether everything up to a place has been taken in."""

from __future__ import annotations

from collections.abc import Mapping


def has_passed(applied: Mapping[int, int], after: Mapping[int, int]) -> bool:
    """`applied` is the next offset of each partition, `after` the last one that must have been applied."""
    return all(applied.get(partition, 0) > offset for partition, offset in after.items())
