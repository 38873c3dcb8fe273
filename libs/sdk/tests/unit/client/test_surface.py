"""The two clients are one interface, and importing it is cheap."""

from __future__ import annotations

import inspect
import subprocess
import sys

import jobyard
import pytest
from jobyard.client import (
    AsyncClient,
    AsyncJob,
    Client,
    Job,
    bulk,
    dead_letters,
    queues,
    resources,
    schedules,
    workflows,
)


@pytest.mark.parametrize(
    ("blocking", "awaited"),
    [
        (Client, AsyncClient),
        (Job, AsyncJob),
        (resources.Jobs, resources.AsyncJobs),
        (resources.Files, resources.AsyncFiles),
        (resources.Tools, resources.AsyncTools),
        (schedules.Schedules, schedules.AsyncSchedules),
        (workflows.Workflows, workflows.AsyncWorkflows),
        (workflows.Runs, workflows.AsyncRuns),
        (bulk.Bulk, bulk.AsyncBulk),
        (dead_letters.DeadLetters, dead_letters.AsyncDeadLetters),
        (dead_letters.DeadMessages, dead_letters.AsyncDeadMessages),
        (queues.Queues, queues.AsyncQueues),
        (queues.Limits, queues.AsyncLimits),
        (queues.Workers, queues.AsyncWorkers),
    ],
)
def test_both_clients_have_the_same_methods(blocking: type, awaited: type) -> None:
    def methods(kind: type) -> dict[str, list[tuple[str, object, object]]]:
        return {
            name: [(each.name, each.kind, each.default) for each in inspect.signature(member).parameters.values()]
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert methods(blocking) == methods(awaited)


def test_names_come_from_their_homes() -> None:
    assert jobyard.Client is Client
    with pytest.raises(AttributeError):
        _ = jobyard.nothing_of_the_kind
    assert set(jobyard.__all__) <= set(dir(jobyard))


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import jobyard", {"httpx", "msgspec", "typer", "rich", "pydantic"}),
        ("import jobyard.cli.main", {"httpx", "msgspec", "pydantic", "rich.progress", "asyncio"}),
        ("import jobyard.client", {"typer", "pydantic", "jobyard_common"}),
    ],
)
def test_imports_stay_light(code: str, absent: set[str]) -> None:
    program = f"import sys; {code}; print(*sorted(set({sorted(absent)!r}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
