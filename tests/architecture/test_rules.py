"""Rules of the house that no linter knows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tracked(*patterns: str) -> list[Path]:
    names = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.splitlines() if (ROOT / name).is_file()]


def test_files_stay_short() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in tracked("*.py")}
    assert len(lengths) > 50
    long = {str(path): count for path, count in lengths.items() if count > 300}
    assert long == {}


def test_no_file_names_the_host_of_a_registry() -> None:
    host = re.compile(r"//[a-z0-9.-]*(pypi|pythonhosted|npmjs|maven|golang|crates)[a-z0-9-]*\.(org|io|com|net)")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if path.suffix not in {".jar", ".png"} and (match := host.search(path.read_text(errors="replace")))
    ]
    assert found == []


def test_transactions_are_committed_by_their_scope_only() -> None:
    """An explicit commit inside a handler would split what must be one transaction."""
    handlers = [path for path in tracked("services/*.py") if "/handlers/" in str(path) or "/domain/" in str(path)]
    assert [str(path) for path in handlers if ".commit()" in path.read_text()] == []


def test_generated_documents_are_fresh() -> None:
    check = subprocess.run([sys.executable, "docs/generate.py", "check"], cwd=ROOT, capture_output=True, text=True)
    assert check.returncode == 0, check.stderr


def test_services_share_no_sql() -> None:
    """A service that names another one's schema in its SQL would be refused by the database; find it earlier."""
    for service in ("gateway", "executor", "files", "monitor"):
        others = {"gateway", "executor", "files", "monitor"} - {service}
        for path in tracked(f"services/{service}/src/*/store/*.py"):
            for other in others:
                assert not re.search(rf"\b(FROM|JOIN|INTO|UPDATE)\s+{other}\.", path.read_text()), path
