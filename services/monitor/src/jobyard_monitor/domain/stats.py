"""Sums over counts of jobs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Pair = tuple[float | None, float | None]


@dataclass(frozen=True)
class Finished:
    """Jobs that ended in a window; `tool` and `state` are None in the sum over all. Percentiles: p50, p95 in ms."""

    tool: str | None
    state: str | None
    jobs: int
    run_ms: Pair
    wait_ms: Pair


@dataclass
class ToolStats:
    states: dict[str, int] = field(default_factory=dict)
    run_ms: dict[str, Pair] = field(default_factory=dict)
    """By terminal state: a timeout says nothing about how long a success takes."""


@dataclass(frozen=True)
class Stats:
    states: dict[str, int]
    tools: dict[str, ToolStats]
    success_rate: float | None
    """Succeeded among succeeded, failed and expired; None when none of them ended."""
    run_ms: Pair
    wait_ms: Pair


def summarise(live: Iterable[tuple[str, str, int]], finished: Sequence[Finished]) -> Stats:
    states: dict[str, int] = defaultdict(int)
    tools: dict[str, ToolStats] = defaultdict(ToolStats)
    for tool, state, jobs in live:
        states[state] += jobs
        tools[tool].states[state] = jobs
    run_ms: Pair = (None, None)
    wait_ms: Pair = (None, None)
    for row in finished:
        if row.tool is None or row.state is None:
            run_ms, wait_ms = row.run_ms, row.wait_ms
            continue
        states[row.state] += row.jobs
        tools[row.tool].states[row.state] = row.jobs
        tools[row.tool].run_ms[row.state] = row.run_ms
    return Stats(dict(sorted(states.items())), dict(sorted(tools.items())), success_rate(states), run_ms, wait_ms)


def success_rate(states: dict[str, int]) -> float | None:
    """Cancelled jobs ended because somebody wanted it: they are neither success nor failure."""
    ended = sum(states.get(state, 0) for state in ("succeeded", "failed", "expired"))
    return states.get("succeeded", 0) / ended if ended else None
