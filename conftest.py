"""Fixtures of the whole tree: real servers for tests that ask for them."""

from __future__ import annotations

pytest_plugins = ["jobyard_local.testing"]
