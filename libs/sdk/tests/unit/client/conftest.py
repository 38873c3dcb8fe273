from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from jobyard.client import Backoff, Client, Policy
from jobyard.client.testing import FakeYard


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No setting and no memory of the machine's user reaches a test."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("JOBYARD_URL", "JOBYARD_API_KEY", "JOBYARD_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def policy() -> Policy:
    return Policy(Backoff(attempts=4, base_s=0.01, cap_s=0.05, advice_cap_s=0.05), patience_s=2.0)


@pytest.fixture
def fake() -> Iterator[FakeYard]:
    with FakeYard() as yard:
        yield yard


@pytest.fixture
def client(fake: FakeYard, policy: Policy) -> Iterator[Client]:
    with Client(fake.url, api_key=fake.api_key, policy=policy) as found:
        yield found
