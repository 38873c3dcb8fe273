"""Which queues an executor works for, and how many jobs of each at once: `fast:50,bulk:4,*`."""

from __future__ import annotations

import re

import msgspec

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
MOST_SLOTS = 100_000


class WorkQueuesInvalid(ValueError):
    """A list of queues that cannot be understood; the text says which part."""


class WorkQueues(msgspec.Struct, frozen=True):
    """`names` None means every queue; `pools` bounds the jobs of a queue that run here at once."""

    names: frozenset[str] | None = None
    pools: dict[str, int] = {}

    def told(self) -> list[str]:
        """The list as people write it."""
        known = {*self.pools, *(self.names or ())}
        found = [f"{name}:{self.pools[name]}" if name in self.pools else name for name in sorted(known)]
        return [*found, "*"] if self.names is None else found

    def serves(self, queue: str) -> bool:
        return self.names is None or queue in self.names


def parse(parts: list[str] | tuple[str, ...]) -> WorkQueues:
    """Raises WorkQueuesInvalid."""
    names: set[str] = set()
    pools: dict[str, int] = {}
    for part in parts:
        name, colon, slots = part.partition(":")
        if name in names:
            raise WorkQueuesInvalid(f"{name} is named twice")
        names.add(name)
        if name == "*" and not colon:
            continue
        if not NAME.fullmatch(name):
            raise WorkQueuesInvalid(f"{name[:128]!r} is no name of a queue")
        if not colon:
            continue
        if not slots.isascii() or not slots.isdigit() or not 1 <= int(slots[:9]) <= MOST_SLOTS or len(slots) > 9:
            raise WorkQueuesInvalid(f"{part[:140]!r}: slots are a number from 1 to {MOST_SLOTS}")
        pools[name] = int(slots)
    if not names:
        raise WorkQueuesInvalid("no queue is named; * means all of them")
    return WorkQueues(None if "*" in names else frozenset(names), pools)
