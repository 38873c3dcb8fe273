"""Pauses between tries: the formula apart from the jitter."""

from __future__ import annotations

import random
from collections.abc import Iterator


def jittered(delay_s: float, *, share: float, dice: random.Random) -> float:
    """`delay_s` moved by at most `share` of itself either way."""
    return delay_s * (1 + share * (2 * dice.random() - 1))


def delays(
    *, first_s: float = 0.1, cap_s: float = 10.0, share: float = 0.2, dice: random.Random | None = None
) -> Iterator[float]:
    """Doubling pauses in seconds, without end."""
    chance = dice or random.Random()  # noqa: S311 - spreads load, guards nothing
    delay = first_s
    while True:
        yield jittered(delay, share=share, dice=chance)
        delay = min(cap_s, delay * 2)
