"""Settings of the gateway."""

from __future__ import annotations

from jobyard_common.settings import CommonSettings
from pydantic import Field


class Settings(CommonSettings):
    replicated: bool = Field(False, description="Several gateways share the load: look up barriers in Valkey, too.")
    intake_tenant: str = Field("tnt_default", description="Tenant of intake records that bring no API key.")
    trace_url: str | None = Field(None, description="Template of a trace's page, with {trace_id}.")
