from __future__ import annotations

import json
from pathlib import Path

import pytest
from jobyard_executor.sandbox import attacks, selftest
from jobyard_executor.sandbox.bubblewrap import arguments
from jobyard_executor.sandbox.jail import Policy

GOOD = {"attacks": {"read": "refused"}, "chores": {"files": "works"}}


def test_a_level_that_refused_everything_holds() -> None:
    assert attacks.judged(GOOD, survivors=0) == []


@pytest.mark.parametrize(
    ("report", "survivors"),
    [
        ({**GOOD, "attacks": {"read": "passed"}}, 0),
        ({**GOOD, "attacks": {"read": "unclear: odd"}}, 0),
        ({**GOOD, "chores": {"files": "fails: odd"}}, 0),
        (GOOD, 1),
    ],
)
def test_anything_else_speaks_against_it(report: dict[str, dict[str, str]], survivors: int) -> None:
    assert attacks.judged(report, survivors=survivors)


def test_a_level_needs_those_below(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = tmp_path / "proof.json"
    cache.write_text(json.dumps({"key": selftest._key(), "faults": {"L1": [], "L2": ["odd"], "L3": []}}))
    proof = selftest.prove(cache=cache)
    assert proof.cached
    assert proof.levels == {"L0", "L1"}


@pytest.mark.parametrize("content", ["", "[]", '{"key": "other", "faults": {}}', '{"key": 5}'])
def test_a_cache_of_another_boot_or_code_is_not_believed(tmp_path: Path, content: str) -> None:
    cache = tmp_path / "proof.json"
    cache.write_text(content)
    assert selftest._remembered(cache, "key") is None


def test_the_tool_stands_after_all_options_of_bubblewrap() -> None:
    options = arguments(["/bin/tool", "--evil"], Policy(level="L3", work_dir="/w", read=("/tool",)))
    assert options[options.index("--") + 1 :] == ["/bin/tool", "--evil"]
    assert "--unshare-all" in options
    assert options[options.index("--bind") + 1] == "/w"
