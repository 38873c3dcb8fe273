"""What a process remembers of runs between two steps, so that each step does not read and parse it again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from jobyard_common.contracts.tools import ToolDefinition

from jobyard_executor.domain.workflow import Plan

MAX_PLANS = 32
TOOLS_S = 2.0


@dataclass
class RunMemory:
    """Plans never change; tools are read again after `TOOLS_S`."""

    plans: OrderedDict[str, tuple[Plan, object]] = field(default_factory=OrderedDict)
    tools: tuple[ToolDefinition, ...] = ()
    alive: frozenset[str] = frozenset()
    routes: dict[str, str] = field(default_factory=dict)
    tools_until: float = float("-inf")

    def plan(self, run_id: str) -> tuple[Plan, object] | None:
        """The plan of a run and its input."""
        found = self.plans.get(run_id)
        if found is not None:
            self.plans.move_to_end(run_id)
        return found

    def keep(self, run_id: str, plan: Plan, given: object) -> None:
        self.plans[run_id] = (plan, given)
        if len(self.plans) > MAX_PLANS:
            self.plans.popitem(last=False)
