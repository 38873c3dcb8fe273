"""Jobyard for Python: the client, the command line and the kit for tool authors.

Names load on first use, so that `import jobyard` is cheap and a tool author never pays for the client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobyard.author import Context as Context
    from jobyard.author import Item as Item
    from jobyard.author import Result as Result
    from jobyard.author import RetryLater as RetryLater
    from jobyard.author import batch_tool as batch_tool
    from jobyard.author import tool as tool
    from jobyard.client import AsyncClient as AsyncClient
    from jobyard.client import AsyncJob as AsyncJob
    from jobyard.client import Client as Client
    from jobyard.client import Event as Event
    from jobyard.client import File as File
    from jobyard.client import Job as Job
    from jobyard.client import JobResult as JobResult
    from jobyard.client import JobState as JobState
    from jobyard.workflow import Workflow as Workflow

_HOMES = {
    "jobyard.author": ("Context", "Item", "Result", "RetryLater", "batch_tool", "tool"),
    "jobyard.workflow": ("Workflow",),
    "jobyard.client": ("AsyncClient", "AsyncJob", "Client", "Event", "File", "Job", "JobResult", "JobState"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Client",
    "Context",
    "Event",
    "File",
    "Item",
    "Job",
    "JobResult",
    "JobState",
    "Result",
    "RetryLater",
    "Workflow",
    "batch_tool",
    "tool",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
