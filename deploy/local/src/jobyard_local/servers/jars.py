"""The broker's jars: a pinned list of coordinates with checksums, fetched once into a cache outside the tree.

The cache holds one folder per version of the list, complete or absent: it is filled beside its place, every jar is
checked against the list, and then it is renamed. `JOBYARD_KAFKA_LIBS` names a folder of the user's own instead,
`JOBYARD_MAVEN_REPOSITORY` the address of a mirror.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jobyard_local.errors import RegistryAway

WAYS_OUT = (
    "set JOBYARD_KAFKA=host:port to use a broker of yours, or JOBYARD_KAFKA_LIBS=folder with the jars of Apache Kafka"
)


@dataclass(frozen=True)
class Jar:
    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def pinned() -> list[Jar]:
    """The jars of the list, in its order."""
    lines = resources.files("jobyard_local.servers").joinpath("kafka-jars.txt").read_text().splitlines()
    found = []
    for line in lines:
        if line and not line.startswith("#"):
            coordinate, checksum = line.split()
            group, artifact, version = coordinate.split(":")
            found.append(Jar(group, artifact, version, checksum))
    return found


def cache_folder() -> Path:
    """`JOBYARD_CACHE`, else `jobyard` in the user's cache folder."""
    own = os.environ.get("JOBYARD_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jobyard"


def jars_here(cache: Path) -> Path | None:
    """The folder with all jars if nothing must be downloaded; raises `RegistryAway` for a folder without jars."""
    own = os.environ.get("JOBYARD_KAFKA_LIBS")
    if own:
        if not any(Path(own).glob("kafka-clients-*.jar")):
            raise RegistryAway(f"JOBYARD_KAFKA_LIBS={own} holds no jars of Apache Kafka; name its libs folder")
        return Path(own).resolve()
    target = _target(cache, pinned())
    return target if target.is_dir() else None


def _target(cache: Path, jars: list[Jar]) -> Path:
    digest = hashlib.sha256("".join(jar.sha256 for jar in jars).encode()).hexdigest()[:12]
    return cache / f"kafka-{digest}"


def ensure_jars(cache: Path, *, say: Callable[[str], None]) -> Path:
    """The folder with all jars, downloading those that are missing; raises `RegistryAway`."""
    here = jars_here(cache)
    if here is not None:
        return here
    jars = pinned()
    target = _target(cache, jars)
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            say(f"fetching {len(jars)} jars of Apache Kafka, once, into {cache}")
            _fill(target, jars=jars)
    return target


def _fill(target: Path, *, jars: list[Jar]) -> None:
    partial = target.with_suffix(".partial")
    partial.mkdir(exist_ok=True)
    repository = target.with_suffix(".repository")
    fetch = _fetcher(repository)

    def one(jar: Jar) -> None:
        place = partial / jar.filename
        if place.exists() and _sha256(place) == jar.sha256:
            return
        found = fetch(jar)
        actual = _sha256(found)
        if actual != jar.sha256:
            found.unlink()
            raise RegistryAway(f"{jar.filename} has checksum {actual}, want {jar.sha256}: the download is not used")
        found.replace(place)

    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(one, jars))
    shutil.rmtree(repository, ignore_errors=True)
    partial.rename(target)


def _fetcher(repository: Path) -> Callable[[Jar], Path]:
    import truststore

    # the resolver's HTTP library trusts only its own list of authorities; the machine's own may differ
    truststore.inject_into_ssl()
    from jgo.maven import MavenContext

    mirror = os.environ.get("JOBYARD_MAVEN_REPOSITORY")
    context = MavenContext(
        repo_cache=repository, local_repos=[], remote_repos={"mirror": mirror} if mirror else None, timeout=60
    )

    def fetch(jar: Jar) -> Path:
        stale = repository / jar.group.replace(".", "/") / jar.artifact / jar.version / jar.filename
        stale.unlink(missing_ok=True)
        for attempt in (1, 2, 3):
            try:
                found: Path = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
            except Exception as error:  # the resolver raises whatever its HTTP library does
                stale.unlink(missing_ok=True)
                if attempt == 3:
                    reason = f"{type(error).__name__}: {error}".splitlines()[0][:160]
                    raise RegistryAway(f"cannot download {jar.filename} ({reason}); {WAYS_OUT}") from error
                continue
            return found
        raise AssertionError("unreachable")

    return fetch


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """Fill the cache: a process of its own, because a download in a thread would outlive a Ctrl-C."""
    try:
        ensure_jars(cache_folder(), say=print)
    except RegistryAway as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
