"""The limits of tools as settings."""

from __future__ import annotations

from typing import Any

import pytest
from jobyard_executor.settings import Settings
from jobyard_executor.worker.settings import Memory
from pydantic import ValidationError


def settings(**changes: Any) -> Settings:
    known: dict[str, Any] = {"postgres_dsn": "postgresql://x", "kafka_bootstrap": "127.0.0.1:1"}
    return Settings(**(known | changes))


def test_the_defaults_of_settings_are_those_of_the_workers() -> None:
    assert settings().tool_limits() == Memory()


def test_a_setting_reaches_its_limit() -> None:
    found = settings(tool_work_mib=7, tool_work_files=50, tool_memory_mib=128, disk_reserve_mib=0).tool_limits()
    assert (found.work_bytes, found.work_files) == (7 * 2**20, 50)
    assert (found.memory_bytes, found.disk_reserve_bytes) == (128 * 2**20, 0)


def test_retention_is_read_and_checked() -> None:
    found = settings(
        job_retention_by_state="succeeded=10, failed=20", job_retention_by_tool="http.fetch=12"
    ).retention()
    assert [rule.name for rule in found.rules()] == ["tool:http.fetch", "state:succeeded", "state:failed"]
    for wrong in ("succeeded=9", "running=20", "succeeded=nan", "succeeded"):
        with pytest.raises(ValidationError):
            settings(job_retention_by_state=wrong)
