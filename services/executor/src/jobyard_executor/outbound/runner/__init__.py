"""Running tools: the control process's side of the workers.

    dispatch ─► stage inputs (only if there are any) ─► worker or slot ─► collect outputs (only if any) ─► on_outcome

Every assignment ends in exactly one outcome: from its worker, or, when the worker is gone or its loop stands still,
from here. No user code runs in this process, and no task is made for a job that has no files.
"""

from jobyard_executor.outbound.runner.runner import ProcessRunner, RunnerBroken
from jobyard_executor.outbound.runner.settings import RunnerSettings

__all__ = ["ProcessRunner", "RunnerBroken", "RunnerSettings"]
