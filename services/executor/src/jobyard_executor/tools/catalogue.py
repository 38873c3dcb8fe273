"""Every tool that this executor can run: the core packs, the packs that a setting adds, and folders of scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from jobyard.author.registry import Pack, ToolFunction

from jobyard_executor.tools import toolfile
from jobyard_executor.tools.command import CommandTool
from jobyard_executor.tools.definition import definition
from jobyard_executor.tools.errors import DuplicateTool, PackInvalid, ToolFileInvalid, UnknownPack

GROUP = "jobyard.tools"
CORE = ("tables", "http", "archive", "text")
SHELL = "shell"
TOOL_FILE = "tool.toml"

Key = tuple[str, str]


class Catalogue:
    """Tools by (name, version). Filled once, while an executor or one of its workers starts."""

    def __init__(self) -> None:
        self.functions: dict[Key, ToolFunction] = {}
        self.commands: dict[Key, CommandTool] = {}
        self._origins: dict[Key, str] = {}

    def add(self, tool: ToolFunction | CommandTool, *, origin: str) -> None:
        """Raises DuplicateTool."""
        key = (tool.name, tool.version)
        if key in self._origins:
            raise DuplicateTool(*key, first=self._origins[key], second=origin)
        self._origins[key] = origin
        if isinstance(tool, ToolFunction):
            self.functions[key] = tool
        else:
            self.commands[key] = tool

    def definitions(self) -> list[dict[str, Any]]:
        """What the registry publishes, ordered by name and version."""
        tools: dict[Key, ToolFunction | CommandTool] = {**self.functions, **self.commands}
        return [definition(tools[key]) for key in sorted(tools)]


def load(packs: Sequence[str], *, enable_shell: bool = False, folders: Sequence[Path] = ()) -> Catalogue:
    """The core packs, the named packs, and the command tools in `folders`.

    `shell` runs what its users write, so naming it as a pack is not enough: `enable_shell` turns it on.
    Raises CatalogueError.
    """
    catalogue = Catalogue()
    named = [pack for pack in packs if pack != SHELL] + ([SHELL] if enable_shell else [])
    for name in dict.fromkeys([*CORE, *named]):
        _add_pack(catalogue, _pack(name))
    for folder in folders:
        _add_folder(catalogue, folder)
    return catalogue


def _pack(name: str) -> Pack:
    installed = list(entry_points(group=GROUP))
    found = [point for point in installed if point.name == name]
    if not found:
        raise UnknownPack(name, installed=sorted({point.name for point in installed}))
    if len({point.value for point in found}) > 1:
        raise PackInvalid(f"Two installed packages call a pack {name!r}: {', '.join(point.value for point in found)}.")
    return _loaded(found[0])


def _loaded(point: EntryPoint) -> Pack:
    try:
        pack = point.load()
    except (ImportError, AttributeError) as error:
        raise PackInvalid(f"Pack {point.name!r} ({point.value}) cannot be imported: {error}.") from error
    if not isinstance(pack, Pack):
        raise PackInvalid(f"Pack {point.name!r}: {point.value} is a {type(pack).__name__}, not a jobyard.author.Pack.")
    return pack


def _add_pack(catalogue: Catalogue, pack: Pack) -> None:
    for function in pack.functions:
        catalogue.add(function, origin=f"pack {pack.name!r}")
    for folder in pack.folders:
        _add_folder(catalogue, folder)


def _add_folder(catalogue: Catalogue, folder: Path) -> None:
    found = False
    for path in _tool_files(folder):
        catalogue.add(toolfile.read(path), origin=str(path))
        found = True
    if not found:
        raise ToolFileInvalid(folder, "", f"holds no tool: a tool is a folder with a {TOOL_FILE}")


def _tool_files(folder: Path) -> Iterator[Path]:
    """The folder's own tool.toml, else those of its sub-folders; a link that leaves the folder is refused."""
    if not folder.is_dir():
        raise ToolFileInvalid(folder, "", "is not a folder")
    places = [folder] if (folder / TOOL_FILE).exists() else sorted(folder.iterdir())
    for place in places:
        path = place / TOOL_FILE
        if not path.exists():
            continue
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ToolFileInvalid(path, "", "is a link that leads out of its folder")
        yield path
