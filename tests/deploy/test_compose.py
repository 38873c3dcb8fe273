"""docker-compose.yml: valid by the specification's own schema, and kept to our rules."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from jobyard_executor.settings import Settings as ExecutorSettings
from jobyard_files.settings import Settings as FilesSettings
from jobyard_gateway.settings import Settings as GatewaySettings
from jobyard_monitor.settings import Settings as MonitorSettings

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((Path(__file__).parent / "compose-spec" / "schema.json").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("gateway", "executor", "files", "monitor")
ONCE = ("roles", "topics", *(f"migrate-{name}" for name in OURS))
VARIABLE = re.compile(r"\$\{([A-Z_]+)(:[?-][^}]*)?\}")
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|_DSN$|AUTH$|VALKEY_URL$")
SETTINGS = {
    "gateway": GatewaySettings,
    "executor": ExecutorSettings,
    "files": FilesSettings,
    "monitor": MonitorSettings,
}


def variables() -> set[str]:
    text = (ROOT / ".env.example").read_text()
    return set(re.findall(r"^(?:# )?([A-Z_]+)=", text, re.MULTILINE))


def test_it_is_a_compose_file() -> None:
    errors = [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(COMPOSE)]
    assert errors == []


def test_the_schema_would_notice() -> None:
    broken = {"services": {"a": {"image": "x", "depend_on": ["b"]}}}
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(broken)


def test_every_variable_is_in_the_example() -> None:
    used = {name for name, _ in VARIABLE.findall((ROOT / "docker-compose.yml").read_text())}
    assert used == variables()


def test_the_example_holds_no_secret() -> None:
    for line in (ROOT / ".env.example").read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and SECRET.search(name):
            assert value == "", name


def secrets_of(service: dict[str, Any]) -> list[str]:
    """Environment variables and arguments that hold a secret as plain text, or have a default for one."""
    found = []
    for name, value in service.get("environment", {}).items():
        if SECRET.search(name) and not re.search(r"\$\{[A-Z_]+:\?", str(value)):
            found.append(name)
    command = service.get("command", [])
    for option, value in itertools.pairwise(command):
        if "pass" in option and not str(value).startswith("${"):
            found.append(option)
    return found


def test_no_secret_is_fixed_or_has_a_default() -> None:
    assert {name: found for name, service in SERVICES.items() if (found := secrets_of(service))} == {}
    assert secrets_of({"environment": {"X_PASSWORD": "${X_PASSWORD:-admin}"}}) == ["X_PASSWORD"]
    assert secrets_of({"command": ["valkey-server", "--requirepass", "admin"]}) == ["--requirepass"]


def test_foreign_images_are_pinned() -> None:
    for name, service in SERVICES.items():
        if "build" not in service:
            assert re.fullmatch(r"[a-z/]+:\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?", service["image"]), name


def test_each_image_of_ours_is_its_own_service() -> None:
    for name, service in SERVICES.items():
        if "build" in service:
            assert service["image"] == f"jobyard/{service['build']['args']['SERVICE']}", name
            assert (ROOT / service["build"]["dockerfile"]).is_file()
    for name in OURS:
        assert SERVICES[name]["image"] == f"jobyard/{name}"
        assert SERVICES[f"migrate-{name}"]["image"] == f"jobyard/{name}"


def test_whatever_stays_has_a_health_check_and_whatever_ends_has_none() -> None:
    for name, service in SERVICES.items():
        if name in ONCE:
            assert (service["healthcheck"], service["restart"]) == ({"disable": True}, "no"), name
        else:
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
            assert service["restart"] == "unless-stopped", name


def waits_for(name: str, *, seen: tuple[str, ...] = ()) -> dict[str, str]:
    """Everything that must be there first, with its condition; fails on a circle."""
    assert name not in seen, f"{seen} → {name}"
    found: dict[str, str] = {}
    for other, rule in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        found |= {other: rule["condition"], **waits_for(other, seen=(*seen, name))}
    return found


@pytest.mark.parametrize("name", OURS)
def test_a_service_starts_after_what_it_needs(name: str) -> None:
    order = waits_for(name)
    assert order[f"migrate-{name}"] == order["topics"] == order["roles"] == "service_completed_successfully"
    assert order["kafka"] == order["postgres"] == "service_healthy"


def test_the_front_door_opens_last() -> None:
    assert {"executor", "files", "monitor", "valkey"} <= waits_for("gateway").keys()


@pytest.mark.parametrize("name", [*OURS, *ONCE])
def test_our_containers_are_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert any(mount.startswith("/tmp:") and "size=" in mount for mount in service["tmpfs"])
    assert not {"privileged", "cap_add", "pid", "user"} & service.keys()


@pytest.mark.parametrize("name", OURS)
def test_a_service_writes_to_its_own_volume_and_reaps_orphans(name: str) -> None:
    assert SERVICES[name]["volumes"] == [f"{name}:/data"]
    assert SERVICES[name]["init"] is True
    assert name in COMPOSE["volumes"]


@pytest.mark.parametrize("name", OURS)
def test_every_variable_means_something_to_its_service(name: str) -> None:
    fields = SETTINGS[name].model_fields
    known = {str(field.validation_alias or f"JOBYARD_{label.upper()}") for label, field in fields.items()}
    peers = {f"JOBYARD_{peer.upper()}_URL" for peer in OURS}
    assert set(SERVICES[name]["environment"]) - known <= peers
    assert SERVICES[name]["environment"] == SERVICES[f"migrate-{name}"]["environment"]


@pytest.mark.parametrize("name", OURS)
def test_each_service_has_its_own_database_role(name: str) -> None:
    dsn = SERVICES[name]["environment"]["JOBYARD_POSTGRES_DSN"]
    assert dsn.startswith(f"postgresql://jobyard_{name}:${{{name.upper()}_DB_PASSWORD:?")
    assert SERVICES["roles"]["environment"][f"JOBYARD_{name.upper()}_PASSWORD"] == VARIABLE.search(dsn)[0]  # type: ignore[index]


def test_only_the_gateway_and_jaeger_are_reachable_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"gateway", "jaeger"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert COMPOSE["networks"]["inside"]["internal"] is True
    outside = {name for name, service in SERVICES.items() if "outside" in service["networks"]}
    assert outside == {"gateway", "executor", "jaeger"}


def test_spans_go_where_jaeger_listens() -> None:
    config = yaml.safe_load((ROOT / "deploy/jaeger/config.yaml").read_text())
    endpoint = SERVICES["gateway"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert endpoint == "http://jaeger:4318"
    assert config["receivers"]["otlp"]["protocols"]["http"]["endpoint"] == "0.0.0.0:4318"
    assert config["extensions"]["jaeger_query"]["http"]["endpoint"].endswith(":16686")
    probed = SERVICES["jaeger"]["healthcheck"]["test"][-1]
    assert config["extensions"]["healthcheckv2"]["http"]["endpoint"].rpartition(":")[2] in probed


def test_jaegers_pipeline_is_closed() -> None:
    config = yaml.safe_load((ROOT / "deploy/jaeger/config.yaml").read_text())
    pipeline = config["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) <= config[kind].keys()
    assert set(config["service"]["extensions"]) <= config["extensions"].keys()
    backends = config["extensions"]["jaeger_storage"]["backends"]
    assert config["exporters"]["jaeger_storage_exporter"]["trace_storage"] in backends
    assert config["extensions"]["jaeger_query"]["storage"]["traces"] in backends
    patterns = json.loads((ROOT / "deploy/jaeger/ui.json").read_text())["linkPatterns"]
    assert {row["key"] for row in patterns} == {"job.id", "correlation.id"}
