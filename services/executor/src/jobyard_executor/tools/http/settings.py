"""Settings of the http pack. Workers get those variables of the executor that begin with `TOOL_`."""

from __future__ import annotations

from pydantic_settings import BaseSettings, SettingsConfigDict


class HttpSettings(BaseSettings):
    """Read when a job starts, from `TOOL_HTTP_…`."""

    model_config = SettingsConfigDict(env_prefix="TOOL_HTTP_", extra="ignore")

    allow: str = ""
    """Hosts that may be called whatever their address and port, `host` or `host:port`, separated by commas."""

    ports: str = "80,443,8080,8443"
    """Ports that may be called."""

    def allows(self, host: str, port: int) -> bool:
        """Whether an administrator has named this host, so that its address is not judged."""
        named = {entry.strip().lower() for entry in self.allow.split(",")}
        return host.lower() in named or f"{host.lower()}:{port}" in named

    def allows_port(self, port: int) -> bool:
        return str(port) in {entry.strip() for entry in self.ports.split(",")}
