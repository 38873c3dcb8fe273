"""Settings that are wrong end the program with the variable's name."""

from __future__ import annotations

import pytest
from jobyard_common.settings import load_settings
from jobyard_monitor.__main__ import main
from jobyard_monitor.handlers.rebuild import KNOWN, PROJECTIONS, UnknownTopic, chosen
from jobyard_monitor.settings import Settings

GOOD = {"JOBYARD_POSTGRES_DSN": "postgresql://x@/y", "JOBYARD_KAFKA_BOOTSTRAP": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOBYARD_ROLES", "ingest,judge"),
        ("JOBYARD_ROLES", ""),
        ("JOBYARD_KEEP_JOB_LOGS_DAYS", "0"),
        ("JOBYARD_KEEP_AUDIT_DAYS", "for ever"),
        ("JOBYARD_GATEWAY_URL", "gateway:8080"),
        ("JOBYARD_HTTP_PORT", "70000"),
        ("JOBYARD_TOPIC_PREFIX", "a b"),
    ],
)
def test_wrong_values_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    for variable, text in {**GOOD, name: value}.items():
        monkeypatch.setenv(variable, text)
    with pytest.raises(SystemExit) as ended:
        load_settings(Settings)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"{name}: ")


def test_a_missing_token_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for variable, text in GOOD.items():
        monkeypatch.setenv(variable, text)
    monkeypatch.delenv("JOBYARD_SERVICE_TOKEN", raising=False)
    assert main([]) == 2
    assert "JOBYARD_SERVICE_TOKEN" in capsys.readouterr().err


def test_roles_and_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, text in {**GOOD, "JOBYARD_ROLES": "api, keeper", "JOBYARD_GATEWAY_URL": "http://g:1/"}.items():
        monkeypatch.setenv(variable, text)
    settings = load_settings(Settings)
    assert [settings.has_role(role) for role in ("api", "keeper", "ingest")] == [True, True, False]
    assert settings.addresses()["gateway"] == "http://g:1"


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dance"]) == 2
    assert main(["rebuild", "jobs.evnts"]) == 2
    assert "jobs.events" in capsys.readouterr().err


def test_what_is_rebuilt() -> None:
    assert chosen([]) == PROJECTIONS
    assert chosen(["all"]) == KNOWN
    assert chosen(["logs", "logs"]) == ("logs",)
    with pytest.raises(UnknownTopic):
        chosen(["all", "logs"])
