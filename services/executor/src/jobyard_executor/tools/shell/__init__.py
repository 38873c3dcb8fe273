"""The shell pack: `shell.run`, off unless a setting enables it. docs/tool-packs/shell.md describes it."""

from __future__ import annotations

from pathlib import Path

from jobyard.author import Pack

PACK = Pack(name="shell", folders=(Path(__file__).parent / "scripts",))
