"""Settings of the executor, read from the environment by `main` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from jobyard_common.settings import CommonSettings
from pydantic import Field, field_validator
from pydantic_settings import NoDecode

ROLES = ("ingest", "work", "relay", "timers", "api")
Names = Annotated[tuple[str, ...], NoDecode]


class Settings(CommonSettings):
    """One process plays all roles by default; each can be switched apart so that it scales alone."""

    roles: Names = Field(ROLES, description="What this process does: ingest, work, relay, timers, api.")
    tool_packs: Names = Field((), description="Tool packs to add to the core ones, separated by commas.")
    tool_folders: Names = Field((), description="Folders of command tools, separated by commas.")
    enable_shell: bool = Field(False, description="Offer the tools that run what their users write.")
    async_workers: int | None = Field(None, ge=1, le=64, description="Worker processes for async tools.")
    async_slots: int = Field(200, ge=1, le=10_000, description="Async jobs at once in each of those.")
    process_slots: int | None = Field(None, ge=0, le=1000, description="Process tools at once.")
    command_slots: int | None = Field(None, ge=0, le=1000, description="Command tools at once.")
    lease_ttl_s: float = Field(30.0, gt=0, description="After this long without a beat a worker is given up.")
    lease_beat_s: float = Field(10.0, gt=0, description="Seconds between two beats.")
    lease_trust_s: float = Field(22.0, gt=0, description="A worker without a good beat kills its tools after this.")
    drain_grace_s: float = Field(10.0, ge=0, description="How long running tools may go on when we stop.")
    job_retention_days: float = Field(30.0, ge=10.0, description="How long finished jobs are kept.")
    ingest_batch: int = Field(500, ge=1, le=5000, description="Most commands in one transaction.")

    @field_validator("roles", "tool_packs", "tool_folders", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("roles")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(value) - set(ROLES):
            raise ValueError(f"unknown role {', '.join(sorted(unknown))}; known are {', '.join(ROLES)}")
        return value

    def folders(self) -> tuple[Path, ...]:
        return tuple(Path(folder) for folder in self.tool_folders)
