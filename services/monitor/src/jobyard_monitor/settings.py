"""Settings of monitor; only `main` reads them."""

from __future__ import annotations

from datetime import timedelta

from jobyard_common.settings import CommonSettings
from pydantic import Field, field_validator

from jobyard_monitor.handlers.keep_tables import Retention

ROLES = ("ingest", "api", "keeper")


class Settings(CommonSettings):
    keep_timeline_days: int = Field(30, ge=1, le=3650, description="Days that timelines and job states are kept.")
    keep_job_logs_days: int = Field(7, ge=1, le=3650, description="Days that output of jobs is kept.")
    keep_service_logs_days: int = Field(7, ge=1, le=3650, description="Days that logs of services are kept.")
    keep_audit_days: int = Field(365, ge=1, le=3650, description="Days that audit entries are kept.")
    gateway_url: str | None = Field(
        None, pattern=r"^https?://", description="The gateway as other services reach it; else the public address."
    )
    operator_tenants: str = Field(
        "tnt_default", description="Tenants that also see logs and audit entries of no tenant, separated by commas."
    )
    roles: str = Field(
        "ingest,api,keeper", description="What this process does: ingest, api, keeper, separated by commas."
    )

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, value: str) -> str:
        unknown = [role for role in _listed(value) if role not in ROLES]
        if unknown or not _listed(value):
            raise ValueError(f"must be some of {', '.join(ROLES)}, separated by commas")
        return value

    def retention(self) -> Retention:
        return Retention(
            timeline=timedelta(days=self.keep_timeline_days),
            job_logs=timedelta(days=self.keep_job_logs_days),
            service_logs=timedelta(days=self.keep_service_logs_days),
            audit=timedelta(days=self.keep_audit_days),
        )

    def has_role(self, role: str) -> bool:
        return role in _listed(self.roles)

    def operators(self) -> list[str]:
        return _listed(self.operator_tenants)

    def addresses(self) -> dict[str, str]:
        """Where the other services answer."""
        gateway = (self.gateway_url or self.public_url).rstrip("/")
        return {"gateway": gateway, "executor": self.executor_url, "files": self.files_url}


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
