"""The broker's jars: all pinned, checked, and complete or absent."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from jobyard_local.errors import RegistryAway
from jobyard_local.servers import jars
from jobyard_local.servers.jars import Jar, ensure_jars, pinned


def test_every_jar_is_pinned_by_version_and_checksum() -> None:
    found = pinned()
    assert {"kafka_2.13", "kafka-clients", "kafka-storage"} <= {jar.artifact for jar in found}
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in found)
    assert len({jar.filename for jar in found}) == len(found)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A registry of two jars; the second one is what the list says only after a while."""
    monkeypatch.delenv("JOBYARD_KAFKA_LIBS", raising=False)
    served = ["one", "forged"]
    wanted = [Jar("g", name, "1", hashlib.sha256(name.encode()).hexdigest()) for name in ("one", "two")]

    def fetcher(repository: Path) -> object:
        def fetch(jar: Jar) -> Path:
            repository.mkdir(exist_ok=True)
            path = repository / jar.filename
            path.write_text(served[wanted.index(jar)])
            return path

        return fetch

    monkeypatch.setattr(jars, "pinned", lambda: wanted)
    monkeypatch.setattr(jars, "_fetcher", fetcher)
    return served


def test_a_forged_jar_is_refused_and_the_next_try_goes_on(tmp_path: Path, registry: list[str]) -> None:
    said: list[str] = []
    with pytest.raises(RegistryAway, match=r"two-1\.jar has checksum"):
        ensure_jars(tmp_path, say=said.append)
    assert not [entry for entry in tmp_path.iterdir() if entry.is_dir() and re.fullmatch("kafka-[0-9a-f]+", entry.name)]
    registry[1] = "two"
    folder = ensure_jars(tmp_path, say=said.append)
    assert sorted(jar.read_text() for jar in folder.glob("*.jar")) == ["one", "two"]
    assert ensure_jars(tmp_path, say=said.append) == folder
    assert len(said) == 2


def test_own_jars_are_used_if_they_are_kafkas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBYARD_KAFKA_LIBS", str(tmp_path))
    with pytest.raises(RegistryAway, match="JOBYARD_KAFKA_LIBS"):
        ensure_jars(tmp_path, say=print)
    (tmp_path / "kafka-clients-4.4.0.jar").write_text("")
    assert ensure_jars(tmp_path / "elsewhere", say=print) == tmp_path
