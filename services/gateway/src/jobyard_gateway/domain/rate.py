"""How often somebody may do something: the generic cell rate algorithm, in a few additions a call.

One number a bucket, the theoretical arrival time: when the bucket would be full again. A call that costs more than
the bucket holds passes when the bucket is full, and is paid off afterwards, so that a batch is never refused for ever.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_RATE = re.compile(r"([a-z]{1,16})=([1-9][0-9]{0,8})/([1-9][0-9]{0,5})")


class Rate(NamedTuple):
    """`quota` units in `window_s` seconds; a rested caller may use them all at once."""

    quota: int
    window_s: int

    @property
    def each_s(self) -> float:
        return self.window_s / self.quota


class Verdict(NamedTuple):
    """`remaining` units now, `reset_s` until all are there again, `retry_s` until this call passes: 0 if it does."""

    remaining: int
    reset_s: float
    retry_s: float


class Bucket:
    """Of one caller and one kind of call."""

    __slots__ = ("full_at",)

    def __init__(self) -> None:
        self.full_at = 0.0

    def take(self, rate: Rate, cost: int, *, now: float, share: float = 1.0) -> Verdict:
        """Take `cost` units, or none of them. `share` is this process's part of the rate."""
        each_s, burst_s = rate.each_s / share, float(rate.window_s)
        full_at = max(self.full_at, now)
        needed_s = min(cost * each_s, burst_s)
        wait_s = full_at + needed_s - now - burst_s
        # A billionth of the window is rounding, not a unit.
        if wait_s > burst_s * 1e-9:
            return Verdict(max(0, int((now + burst_s - full_at) / each_s + 1e-6)), full_at - now, wait_s)
        self.full_at = full_at + cost * each_s
        return Verdict(max(0, int((now + burst_s - self.full_at) / each_s + 1e-6)), self.full_at - now, 0.0)


def rates_of(text: str) -> dict[str, Rate]:
    """`submit=600/60,read=6000/60`: units and seconds for each class.

    Raises:
        ValueError: not of this form, or a class that does not exist.
    """
    found: dict[str, Rate] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _RATE.fullmatch(part)
        if match is None or match[1] not in CLASSES or match[1] in found:
            raise ValueError(f"{part!r} is not a class of {', '.join(CLASSES)} with =units/seconds")
        found[match[1]] = Rate(int(match[2]), int(match[3]))
    return found


CLASSES = ("submit", "read", "write", "upload", "stream")
