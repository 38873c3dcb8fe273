"""Why tools cannot be loaded. Each message is one sentence that names the place and says what to change.

CatalogueError
├── UnknownPack        a setting names a pack that is not installed
├── PackInvalid        an installed pack is not what its entry point promises
├── DuplicateTool      two tools have the same name and version
└── ToolFileInvalid    a tool.toml is wrong: file and key are in the message
"""

from __future__ import annotations

from pathlib import Path


class CatalogueError(Exception):
    """The tools of this executor cannot be loaded."""


class UnknownPack(CatalogueError):
    def __init__(self, name: str, *, installed: list[str]) -> None:
        super().__init__(
            f"JOBYARD_TOOL_PACKS names the pack {name!r}, which is not installed. Installed: {', '.join(installed)}."
        )


class PackInvalid(CatalogueError):
    """An installed pack is not what its entry point promises."""


class DuplicateTool(CatalogueError):
    def __init__(self, name: str, version: str, *, first: str, second: str) -> None:
        super().__init__(
            f"{second}: tool {name}@{version} is already defined by {first}. Give one of them another name or version."
        )


class ToolFileInvalid(CatalogueError):
    """`path` is the tool.toml (or the folder), `key` the dotted key in it, empty when the whole file is meant."""

    def __init__(self, path: Path, key: str, message: str) -> None:
        super().__init__(f"{path}: {key}: {message}" if key else f"{path}: {message}")
        self.path = path
        self.key = key
        self.message = message
