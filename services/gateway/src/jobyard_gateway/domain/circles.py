"""Circles in a graph, found without recursion: a person's graph may be deep."""

from __future__ import annotations

from collections.abc import Sequence


def in_circles(parents: Sequence[Sequence[int]]) -> list[int]:
    """Nodes, by their number, that are in a circle or wait for one; `parents` has those of each node."""
    waits = [len(listed) for listed in parents]
    children: list[list[int]] = [[] for _ in parents]
    for node, listed in enumerate(parents):
        for parent in listed:
            children[parent].append(node)
    free = [node for node, count in enumerate(waits) if count == 0]
    while free:
        for child in children[free.pop()]:
            waits[child] -= 1
            if waits[child] == 0:
                free.append(child)
    return [node for node, count in enumerate(waits) if count]
