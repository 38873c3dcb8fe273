"""The text pack: tools for plain text, as scripts. docs/tool-packs/text.md describes them."""

from __future__ import annotations

from pathlib import Path

from jobyard.author import Pack

PACK = Pack(name="text", folders=(Path(__file__).parent / "scripts",))
