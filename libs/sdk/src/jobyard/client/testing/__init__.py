"""A small Jobyard in a thread, for tests: real HTTP on a free port, jobs that end as told, faults on demand.

It keeps to the interface where a client can tell: problems, idempotency, tus offsets, ranges, resumable event streams.
"""

from __future__ import annotations

from jobyard.client.testing.server import FakeYard
from jobyard.client.testing.yard import Fault

__all__ = ["FakeYard", "Fault"]
