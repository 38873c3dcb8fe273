"""Keys, callbacks, versions, hashes, queries: rules that fit on a line each."""

from __future__ import annotations

from itertools import pairwise

import pytest
from jobyard_common.contracts.tools import Isolation, Level, ToolDefinition
from jobyard_gateway.domain import api_keys
from jobyard_gateway.domain.callback import refusal
from jobyard_gateway.domain.canonical import body_hash
from jobyard_gateway.domain.permissions import GRANTS, Permission, Role, effective
from jobyard_gateway.domain.queries import job_list_faults
from jobyard_gateway.domain.tools import Registry, SchemaInvalid
from msgspec import Raw


def tool(name: str, version: str = "1", schema: bytes = b"{}") -> ToolDefinition:
    return ToolDefinition(name, version, "", "", Raw(schema), "default", Isolation.ASYNC, Level.L0, "h")


def test_a_key_names_its_id_and_survives_no_typing_error() -> None:
    minted = api_keys.mint()
    assert api_keys.id_of(minted.text) == minted.id
    assert len(minted.text) == api_keys.LENGTH
    for place in range(3, len(minted.text)):
        if minted.text[place] != "_":
            other = "A" if minted.text[place] != "A" else "B"
            assert api_keys.id_of(minted.text[:place] + other + minted.text[place + 1 :]) is None


def test_a_key_is_stored_as_a_digest_under_the_pepper() -> None:
    minted = api_keys.mint()
    stored = api_keys.digest(minted.text, pepper=b"p")
    assert api_keys.matches(minted.text, stored, pepper=b"p")
    assert not api_keys.matches(minted.text, stored, pepper=b"q")
    assert not api_keys.matches(api_keys.mint().text, stored, pepper=b"p")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://example.com/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://169.254.169.254/latest",
        "https://10.0.0.1/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[fe80::1]/",
        "https://localhost./",
        "https://db.internal/",
        "https://intranet/",
        "https://u:p@example.com/",
        "https://example.com:22/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com/\r\nX: y",
        "https://exämple.com/",
        "https:///x",
        "nonsense",
        "gopher://x/",
        "https://example.com/" + "x" * 3000,
    ],
)
def test_callbacks_to_ourselves_are_refused(url: str) -> None:
    assert refusal(url)


@pytest.mark.parametrize("url", ["https://example.com/hook?a=1", "https://8.8.8.8/", "https://example.com:8443/"])
def test_callbacks_to_the_world_are_taken(url: str) -> None:
    assert refusal(url) is None


def test_equal_submits_have_equal_hashes() -> None:
    assert body_hash({"a": 1, "b": [1.0, "é"]}) == body_hash({"b": [1.0, "é"], "a": 1})
    assert body_hash({"a": 10**300}) != body_hash({"a": 10**300 + 1})
    assert body_hash({"a": 2**53}) != body_hash({"a": 2**53 + 1})
    assert body_hash({"a": 1}) != body_hash({"a": "1"})


def test_a_plain_name_means_the_highest_version_that_somebody_runs() -> None:
    registry = Registry()
    for version in ("1.9", "1.10", "2"):
        assert registry.define(tool("t", version))
    assert not registry.define(tool("t", "2"))
    assert _version(registry, "t") == "2"
    registry.workers_offer(["t@1.10", "t@1.9"])
    assert _version(registry, "t") == "1.10"
    assert _version(registry, "t@1.9") == "1.9"
    assert registry.find("t@3") is None and registry.find("t@") is None and registry.find("T") is None
    registry.retire("t@1.10")
    assert _version(registry, "t") == "1.9"


def _version(registry: Registry, name: str) -> str:
    found = registry.find(name)
    assert found is not None
    return found.definition.version


def test_parameter_faults_point_to_the_parameter() -> None:
    registry = Registry()
    schema = (
        b'{"type":"object","properties":{"seconds":{"type":"number","minimum":0},"n":{"type":"integer"}},'
        b'"required":["n"],"additionalProperties":false}'
    )
    registry.define(tool("t", schema=schema))
    found = registry.find("t")
    assert found is not None
    assert not found.faults({"n": 10**399})
    pointers = sorted(fault.pointer for fault in found.faults({"seconds": -1, "bo/gus": 1}))
    assert pointers == ["/parameters/bo~1gus", "/parameters/n", "/parameters/seconds"]


@pytest.mark.parametrize("schema", [b'{"type": 5}', b'{"$ref": "http://x/y"}', b'{"pattern": "("}'])
def test_a_schema_that_cannot_be_compiled_is_refused(schema: bytes) -> None:
    with pytest.raises(SchemaInvalid):
        Registry().define(tool("t", schema=schema))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "201"),
        ("limit", "-1"),
        ("limit", "many"),
        ("limit", "1000000000"),
        ("cursor", "x"),
        ("cursor", "AAAA"),
        ("cursor", "'; --"),
        ("cursor", "x" * 3000),
        ("state", "x y"),
        ("created_after", "2030-01-01T00:00:00"),
        ("count", "roughly"),
        ("parent_id", "job_1"),
        ("schedule_id", "job_1"),
        ("bogus", "1"),
        ("tag", "a\0b"),
    ],
)
def test_wrong_queries_are_named(name: str, value: str) -> None:
    assert [fault.pointer for fault in job_list_faults([(name, value)])] == [name]


def test_only_filters_that_may_repeat_do() -> None:
    assert not job_list_faults(
        [("tag", "a"), ("tag", "b"), ("state", "failed"), ("state", "queued"), ("metadata.k", "v")]
    )
    assert [fault.pointer for fault in job_list_faults([("limit", "5"), ("limit", "6")])] == ["limit"]


def test_each_role_holds_what_the_weaker_ones_hold() -> None:
    roles = [Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OPERATOR]
    for weaker, stronger in pairwise(roles):
        assert GRANTS[weaker] < GRANTS[stronger]
    assert effective(Role.VIEWER, ["jobs:write", "jobs:read"]) == {Permission.JOBS_READ}
    assert effective(Role.MEMBER, []) == GRANTS[Role.MEMBER]
