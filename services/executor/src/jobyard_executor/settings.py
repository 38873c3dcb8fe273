"""Settings of the executor, read from the environment by `main` alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from jobyard_common.contracts.jobs import TERMINAL
from jobyard_common.settings import CommonSettings
from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode

from jobyard_executor.domain import queue_file, work_queues
from jobyard_executor.domain.queue_file import Declared
from jobyard_executor.domain.retention import Retention
from jobyard_executor.domain.work_queues import WorkQueues
from jobyard_executor.sandbox import users
from jobyard_executor.worker.settings import Memory

MIB = 2**20
ROLES = ("ingest", "work", "relay", "timers", "api")
Names = Annotated[tuple[str, ...], NoDecode]


class Settings(CommonSettings):
    """One process plays all roles by default; each can be switched apart so that it scales alone."""

    roles: Names = Field(ROLES, description="What this process does: ingest, work, relay, timers, api.")
    tool_packs: Names = Field((), description="Tool packs to add to the core ones, separated by commas.")
    tool_folders: Names = Field((), description="Folders of command tools, separated by commas.")
    enable_shell: bool = Field(False, description="Offer the tools that run what their users write.")
    async_workers: int | None = Field(None, ge=1, le=64, description="Worker processes for async tools.")
    async_slots: int = Field(500, ge=1, le=10_000, description="Async jobs at once in each of those.")
    process_slots: int | None = Field(None, ge=0, le=1000, description="Process tools at once.")
    command_slots: int | None = Field(None, ge=0, le=1000, description="Command tools at once.")
    tool_memory_mib: int = Field(2048, ge=64, description="Memory of one process of a command tool.")
    tool_child_memory_mib: int = Field(4096, ge=256, description="Memory of the child that runs process tools.")
    tool_file_mib: int = Field(10_240, ge=1, description="Largest single file that a tool may write.")
    tool_work_mib: int = Field(20_480, ge=1, description="Disk that the work dir of one attempt may take.")
    tool_work_files: int = Field(200_000, ge=10, description="Files that the work dir of one attempt may hold.")
    tool_open_files: int = Field(1024, ge=64, description="Descriptors that one process of a tool may have open.")
    tool_processes: int = Field(256, ge=4, description="Processes that one tool may have at once.")
    tool_users: str = Field(
        "200000-265535", description="User ids of which command tools get one each where we are root; empty: none."
    )
    tool_cgroup: str = Field(
        "", description="Folder of a control group (version 2), delegated and without processes, for tools of L4."
    )
    disk_reserve_mib: int = Field(256, ge=0, description="With less free disk, an attempt that fills it is ended.")
    lease_ttl_s: float = Field(30.0, gt=0, description="After this long without a beat a worker is given up.")
    lease_beat_s: float = Field(10.0, gt=0, description="Seconds between two beats.")
    lease_trust_s: float = Field(22.0, gt=0, description="A worker without a good beat kills its tools after this.")
    drain_grace_s: float = Field(10.0, ge=0, description="How long running tools may go on when we stop.")
    job_retention_days: float = Field(30.0, ge=10.0, description="How long finished jobs are kept.")
    job_retention_by_state: Annotated[dict[str, float], NoDecode] = Field(
        {}, description="Shorter times for ended states, in days: succeeded=10,cancelled=14."
    )
    job_retention_by_tool: Annotated[dict[str, float], NoDecode] = Field(
        {}, description="Shorter times for single tools, in days: http.fetch=10."
    )
    tool_retirement_days: float = Field(
        7.0, gt=0, description="A tool version that no executor has offered for so long is retired."
    )
    queues: Names = Field((), description="Queues to declare, besides `default` and those of tools.")
    queues_file: Path | None = Field(
        None, description="TOML or JSON file with weights and limits of queues, and routes of tools."
    )
    work_queues: Names = Field(
        ("*",), description="Queues that this executor works for, as `name` or `name:slots`; `*` stands for all others."
    )
    max_waiting_jobs: int = Field(
        1_000_000,
        ge=0,
        description="Jobs of a tenant that may wait before runs, bulk operations and fires wait, too; 0: any number.",
    )
    ingest_batch: int = Field(500, ge=1, le=5000, description="Most commands in one transaction.")

    @field_validator("roles", "tool_packs", "tool_folders", "queues", "work_queues", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("job_retention_by_state", "job_retention_by_tool", mode="before")
    @classmethod
    def _days(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        return {name.strip(): days.strip() for name, _, days in pairs}

    @field_validator("job_retention_by_state", "job_retention_by_tool")
    @classmethod
    def _long_enough(cls, value: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        if any(not days >= 10 for days in value.values()):
            raise ValueError("no retention may be shorter than 10 days")
        if info.field_name == "job_retention_by_state" and (unknown := set(value) - TERMINAL):
            raise ValueError(f"{min(unknown)} is no ended state; those are {', '.join(sorted(TERMINAL))}")
        return value

    @field_validator("roles")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(value) - set(ROLES):
            raise ValueError(f"unknown role {', '.join(sorted(unknown))}; known are {', '.join(ROLES)}")
        return value

    @field_validator("tool_users")
    @classmethod
    def _free_ids(cls, value: str) -> str:
        users.read_ids(value)
        return value

    @field_validator("work_queues")
    @classmethod
    def _understood(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        work_queues.parse(value)
        return value

    @model_validator(mode="after")
    def _readable(self) -> Settings:
        self.declared()
        return self

    def work_for(self) -> WorkQueues:
        return work_queues.parse(self.work_queues)

    def declared(self) -> Declared:
        """Queues and routes of the settings. Raises ValueError."""
        text, path = None, self.queues_file
        if path is not None:
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"JOBYARD_QUEUES_FILE cannot be read: {error}") from None
        return queue_file.declared(self.queues, text, json=path is not None and path.suffix == ".json")

    def tool_limits(self) -> Memory:
        return Memory(
            memory_bytes=self.tool_memory_mib * MIB,
            child_memory_bytes=self.tool_child_memory_mib * MIB,
            file_bytes=self.tool_file_mib * MIB,
            open_files=self.tool_open_files,
            processes=self.tool_processes,
            work_bytes=self.tool_work_mib * MIB,
            work_files=self.tool_work_files,
            disk_reserve_bytes=self.disk_reserve_mib * MIB,
        )

    def retention(self) -> Retention:
        return Retention(
            timedelta(days=self.job_retention_days),
            {state: timedelta(days=days) for state, days in self.job_retention_by_state.items()},
            {tool: timedelta(days=days) for tool, days in self.job_retention_by_tool.items()},
        )

    def folders(self) -> tuple[Path, ...]:
        return tuple(Path(folder) for folder in self.tool_folders)
