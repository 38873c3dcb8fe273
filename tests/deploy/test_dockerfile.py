"""The Dockerfile, by rules of our own; each rule is shown a file that breaks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "deploy/docker/Dockerfile").read_text()


class Step(NamedTuple):
    stage: int
    name: str
    rest: str


def steps(text: str) -> list[Step]:
    """Instructions with continued lines joined; stage 0 comes before the first FROM."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    found, stage = [], 0
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, rest = line.partition(" ")
        stage += name.upper() == "FROM"
        found.append(Step(stage, name.upper(), rest.strip()))
    return found


def pinned_bases(text: str) -> Iterator[str]:
    defaults = dict(step.rest.split("=", 1) for step in steps(text) if step.name == "ARG" and "=" in step.rest)
    stages = {step.rest.split(" AS ")[1] for step in steps(text) if step.name == "FROM" and " AS " in step.rest}
    for step in steps(text):
        if step.name == "FROM":
            image = re.sub(r"\$\{?(\w+)\}?", lambda found: defaults.get(found[1], ""), step.rest.split()[0])
            if image not in stages and not re.search(r":\d+\.\d+\.\d+[\w.-]*$|@sha256:[0-9a-f]{64}$", image):
                yield f"{image} is not pinned"


def ordinary_user(text: str) -> Iterator[str]:
    last = [step for step in steps(text) if step.stage == max(step.stage for step in steps(text))]
    users = [number for number, step in enumerate(last) if step.name == "USER"]
    if not users or last[users[-1]].rest.split(":")[0] in ("root", "0", ""):
        yield "the last stage has no ordinary user"
    elif not last[users[-1]].rest.split(":")[0].isdigit():
        yield "a user by name cannot be checked by an orchestrator"
    elif any(step.name in ("RUN", "COPY") for step in last[users[-1] + 1 :]):
        yield "something is built after USER"


def nothing_fetched(text: str) -> Iterator[str]:
    for step in steps(text):
        if step.name == "ADD":
            yield "ADD fetches and unpacks: use COPY"
        if re.search(r"\b(curl|wget)\b|https?://", step.rest):
            yield f"{step.name} fetches from an address"


def verified_packages(text: str) -> Iterator[str]:
    for step in steps(text):
        for part in step.rest.split("&&"):
            if "pip install" in part and not re.search(r"--require-hashes|--no-deps --no-index", part):
                yield f"unverified: {part.strip()}"
            if re.search(r"apt(-get)? install", part):
                yield "packages of the distribution are not pinned"


def checks_health(text: str) -> Iterator[str]:
    if not any(step.name == "HEALTHCHECK" and "CMD [" in step.rest for step in steps(text)):
        yield "no HEALTHCHECK in exec form"


def exec_form(text: str) -> Iterator[str]:
    for step in steps(text):
        if step.name in ("CMD", "ENTRYPOINT") and not step.rest.startswith("["):
            yield f"{step.name} runs a shell, which keeps the signals"
    if not any(step.name == "ENTRYPOINT" for step in steps(text)):
        yield "no ENTRYPOINT"


def no_secrets(text: str) -> Iterator[str]:
    for step in steps(text):
        if step.name in ("ENV", "ARG") and re.search(r"PASSWORD|TOKEN|SECRET|API_?KEY", step.rest, re.IGNORECASE):
            yield f"{step.name} holds a secret"


def slim(text: str) -> Iterator[str]:
    found = steps(text)
    final = max(step.stage for step in found)
    if final < 2:
        yield "one stage: what builds it stays in it"
    if any(step.name == "RUN" and "pip" in step.rest for step in found if step.stage == final):
        yield "the last stage installs packages"
    if any(step.name == "COPY" and step.rest.split()[-2:-1] == ["."] for step in found):
        yield "the whole tree is copied"


RULES: dict[Callable[[str], Iterator[str]], tuple[str, str]] = {
    pinned_bases: ("ARG BASE=python:3.11.14-slim-bookworm", "ARG BASE=python:latest"),
    ordinary_user: ("USER 10001:10001", "USER root"),
    nothing_fetched: ("COPY libs libs", "ADD https://example.com/libs.tar.gz libs"),
    verified_packages: (" --require-hashes -r bootstrap.lock", " -r bootstrap.lock"),
    checks_health: ("HEALTHCHECK", "LABEL x="),
    exec_form: ('ENTRYPOINT ["/opt', "ENTRYPOINT /opt"),
    no_secrets: ("ENV JOBYARD_SERVICE", "ENV API_KEY=jy_1 JOBYARD_SERVICE"),
    slim: ("COPY libs libs", "COPY . ."),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_dockerfile_keeps_the_rule(rule: Callable[[str], Iterator[str]]) -> None:
    assert list(rule(TEXT)) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_notices(rule: Callable[[str], Iterator[str]]) -> None:
    good, bad = RULES[rule]
    assert good in TEXT
    assert list(rule(TEXT.replace(good, bad)))


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for step in steps(TEXT):
        if step.name != "COPY" or "--from" in step.rest:
            continue
        for source in step.rest.split()[:-1]:
            path = source.replace("${SERVICE}", "monitor")
            assert (ROOT / path).exists(), path
            admitted = [line[1:] for line in ignored if line.startswith("!")]
            assert any(path == entry or path.startswith(f"{entry}/") for entry in admitted), path
    assert "**/tests" in ignored


def test_no_registry_is_named() -> None:
    for path in (ROOT / "deploy/docker").iterdir():
        if path.is_file():
            assert not re.search(r"docker\.io|ghcr\.io|quay\.io|pypi|pythonhosted", path.read_text()), path.name
