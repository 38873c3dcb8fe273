"""How long finished jobs are kept: all of them for a time, some kinds shorter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

LEAST = timedelta(days=10)
"""Longer than Kafka keeps a command, so that one that comes again never makes its job anew."""


@dataclass(frozen=True)
class Rule:
    """Finished jobs of this state or of this tool go after `after`."""

    name: str
    after: timedelta
    state: str | None = None
    tool: str | None = None


@dataclass(frozen=True)
class Retention:
    """`jobs` holds for everything; shorter times by state and by tool, of which the tool's counts before the state's.

    Longer ones make no difference: history goes by whole partitions.
    """

    jobs: timedelta
    of_states: Mapping[str, timedelta] = field(default_factory=dict)
    of_tools: Mapping[str, timedelta] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min((self.jobs, *self.of_states.values(), *self.of_tools.values())) < LEAST:
            raise ValueError("no retention may be shorter than 10 days")

    def rules(self) -> list[Rule]:
        """What goes before its partition does."""
        by_tool = [Rule(f"tool:{tool}", after, tool=tool) for tool, after in self.of_tools.items()]
        by_state = [Rule(f"state:{state}", after, state=state) for state, after in self.of_states.items()]
        return [rule for rule in (*by_tool, *by_state) if rule.after < self.jobs]

    def covers(self, rule: Rule, *, state: str, tool: str) -> bool:
        """Whether this rule decides about such a job."""
        if rule.tool is not None:
            return tool == rule.tool
        return state == rule.state and tool not in self.of_tools
