"""Settings that every service has, read from the environment once, by its `main`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

S = TypeVar("S", bound="CommonSettings")


class CommonSettings(BaseSettings):
    """Variables begin with `JOBYARD_`; the OpenTelemetry ones keep their standard names."""

    model_config = SettingsConfigDict(env_prefix="JOBYARD_", extra="ignore", populate_by_name=True)

    postgres_dsn: str = Field(repr=False, description="Database of this service, with its own role.")
    kafka_bootstrap: str = Field(description="Kafka bootstrap servers, host:port separated by commas.")
    topic_prefix: str = Field("", pattern=r"^[a-zA-Z0-9._-]{0,100}$", description="Put before every topic name.")
    kafka_idempotence: bool = Field(True, description="Use Kafka's idempotent producer.")
    valkey_url: str | None = Field(None, description="Valkey or Redis; nothing in it must survive.")
    http_host: str = Field("127.0.0.1", description="Address to listen on.")
    http_port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    public_url: str = Field("http://127.0.0.1:8080", description="The gateway as clients see it.")
    executor_url: str = Field("http://127.0.0.1:8081", description="Internal address of the executor.")
    files_url: str = Field("http://127.0.0.1:8082", description="Internal address of the files service.")
    monitor_url: str = Field("http://127.0.0.1:8083", description="Internal address of the monitor.")
    service_token: str | None = Field(None, repr=False, description="Secret shared by the services.")
    service_token_file: Path | None = Field(None, description="File that holds the service token.")
    data_dir: Path = Field(Path("data"), description="Folder on disk that belongs to this service alone.")
    instance_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._-]{1,128}$", description="Stable name of this instance."
    )
    cell: str = Field("00", pattern=r"^[0-9A-HJKMNP-TV-Z]{2}$", description="Cell that new ids carry.")
    log_level: str = Field("info", pattern=r"^(debug|info|warning|error)$", description="Least level to log.")
    postgres_pool_size: int = Field(8, ge=1, le=100, description="Most connections to PostgreSQL.")
    otlp_endpoint: str | None = Field(
        None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT", description="OTLP/HTTP collector; none = no spans."
    )
    traces_sampler: str = Field(
        "parentbased_always_on", validation_alias="OTEL_TRACES_SAMPLER", description="OpenTelemetry's sampler name."
    )
    traces_sampler_arg: str | None = Field(
        None, validation_alias="OTEL_TRACES_SAMPLER_ARG", description="Share of traces for the ratio samplers."
    )

    @field_validator("executor_url", "files_url", "monitor_url", "public_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @field_validator("otlp_endpoint", "valkey_url", "service_token", "traces_sampler_arg", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    def token(self) -> str:
        """The service token.

        Raises:
            SettingsInvalid: neither the token nor a readable file with one was given.
        """
        if self.service_token:
            return self.service_token
        if self.service_token_file is not None:
            try:
                text = self.service_token_file.read_text().strip()
            except OSError as error:
                raise SettingsInvalid(f"JOBYARD_SERVICE_TOKEN_FILE cannot be read: {error.strerror}") from None
            if text:
                return text
        raise SettingsInvalid("set JOBYARD_SERVICE_TOKEN or JOBYARD_SERVICE_TOKEN_FILE")

    def instance(self, service: str) -> str:
        return self.instance_id or f"{socket.gethostname()}-{service}"


class SettingsInvalid(Exception):
    """A setting is missing or wrong; the text names the variable and says what it must be."""


def load_settings(kind: type[S]) -> S:
    """Read `kind` from the environment, or end the program with one line for each wrong variable (exit code 2)."""
    try:
        return cast(Callable[[], S], kind)()
    except ValidationError as error:
        for row in error.errors():
            name = str(row["loc"][0]) if row["loc"] else "settings"
            variable = name if name.isupper() else f"JOBYARD_{name.upper()}"
            print(f"{variable}: {row['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
