"""Settings of the gateway."""

from __future__ import annotations

from jobyard_common.settings import CommonSettings
from pydantic import Field, field_validator

from jobyard_gateway.domain.rate import rates_of


class Settings(CommonSettings):
    replicated: bool = Field(False, description="Several gateways share the load: look up barriers in Valkey, too.")
    intake_tenant: str = Field("tnt_default", description="Tenant of intake records that bring no API key.")
    rate_limits: str = Field(
        "", description="Of each tenant: class=units/seconds, by commas; classes submit, read, write, upload, stream."
    )
    key_rate_limits: str = Field("", description="The same for each API key.")
    max_waiting_jobs: int = Field(
        1_000_000, ge=0, description="Jobs of a tenant that may wait before submits are 429; 0 means any number."
    )
    trace_url: str | None = Field(None, description="Template of a trace's page, with {trace_id}.")

    @field_validator("rate_limits", "key_rate_limits")
    @classmethod
    def _rates(cls, value: str) -> str:
        rates_of(value)
        return value
