"""The registry's copy in memory: which version a name means, and whether parameters fit its schema."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import jsonschema_rs
import msgspec
from jobyard_common.contracts.ids import is_id
from jobyard_common.contracts.jobs import PARAMETERS_SLOT
from jobyard_common.contracts.tools import ToolDefinition

from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.strict_json import escape

NO_REMOTE = "schemas may not refer to other documents"
_NUMBER = re.compile(r"\d+")


class SchemaInvalid(ValueError):
    """A tool's parameters_schema is no JSON Schema that we can compile; the text says why."""


class Tool:
    """One version of a tool, ready to validate."""

    def __init__(self, definition: ToolDefinition) -> None:
        self.definition = definition
        try:
            schema = msgspec.json.decode(bytes(definition.parameters_schema) or b"{}")
            self._validator: Any = jsonschema_rs.Draft202012Validator(schema, retriever=_refuse)
        except (ValueError, TypeError, jsonschema_rs.ValidationError) as error:
            raise SchemaInvalid(str(error)[:300]) from None

    def faults(self, parameters: object) -> list[Fault]:
        """What is wrong with `parameters`; pointers begin with `/parameters`."""
        if self._validator.is_valid(parameters):
            return []
        return [fault for error in self._validator.iter_errors(parameters) for fault in _faults(error)][:100]

    def slot_faults(self, files: dict[str, str]) -> list[Fault]:
        slots = self.definition.slots
        faults = [
            Fault(f"/files/{escape(name)}", "The tool has no such file slot.")
            for name in files
            if name not in slots and name != PARAMETERS_SLOT
        ]
        if PARAMETERS_SLOT in files and not is_id("file", files[PARAMETERS_SLOT]):
            faults.append(Fault(f"/files/{PARAMETERS_SLOT}", "No such file."))
        for name, slot in slots.items():
            if slot.required and name not in files:
                faults.append(Fault(f"/files/{escape(name)}", "This file is required."))
            elif name in files and not is_id("file", files[name]):
                faults.append(Fault(f"/files/{escape(name)}", "No such file."))
        return faults


class Registry:
    """Tools by name and version. The first definition of a version wins."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[str, Tool]] = {}
        self._alive: frozenset[str] = frozenset()
        self._chosen: dict[str, Tool] = {}

    def define(self, definition: ToolDefinition) -> bool:
        """Take a definition in; False if this version is known already.

        Raises:
            SchemaInvalid: its schema can't be compiled.
        """
        versions = self._versions.setdefault(definition.name, {})
        if definition.version in versions:
            return False
        versions[definition.version] = Tool(definition)
        self._chosen.clear()
        return True

    def retire(self, key: str) -> None:
        name, _, version = key.partition("@")
        versions = self._versions.get(name, {})
        versions.pop(version, None)
        if not versions:
            self._versions.pop(name, None)
        self._chosen.clear()

    def workers_offer(self, keys: Iterable[str]) -> None:
        """Which `name@version` live workers can run now."""
        alive = frozenset(keys)
        if alive != self._alive:
            self._alive = alive
            self._chosen.clear()

    def find(self, text: str) -> Tool | None:
        """`name@version`, or `name` for the highest version with a live worker, else the highest."""
        found = self._chosen.get(text)
        if found is not None:
            return found
        name, _, version = text.partition("@")
        versions = self._versions.get(name)
        if not versions:
            return None
        if version or "@" in text:
            return versions.get(version)
        offered = [key for key in versions if f"{name}@{key}" in self._alive]
        chosen = versions[max(offered or versions, key=version_order)]
        self._chosen[text] = chosen
        return chosen

    def latest(self) -> list[Tool]:
        """The version that each plain name means, by name."""
        return [tool for name in sorted(self._versions) if (tool := self.find(name)) is not None]

    def versions(self, name: str) -> list[str]:
        return sorted(self._versions.get(name, {}), key=version_order)

    def queues(self) -> set[str]:
        """Queues that some tool runs in."""
        return {tool.definition.queue for versions in self._versions.values() for tool in versions.values()}

    def __len__(self) -> int:
        return len(self._versions)


def version_order(version: str) -> tuple[tuple[int, int | str], ...]:
    """Numbers in a version compare as numbers: 2 < 10, 1.9 < 1.10."""
    parts = re.findall(r"\d+|[^\d.]+", version)
    return tuple((1, int(part)) if _NUMBER.fullmatch(part) else (0, part) for part in parts)


def _refuse(uri: str) -> dict[str, Any]:
    raise ValueError(f"{NO_REMOTE}: {uri}")


def _faults(error: Any) -> list[Fault]:
    pointer = "/parameters" + "".join(f"/{escape(str(step))}" for step in error.instance_path)
    kind = error.kind
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.AdditionalProperties):
        return [Fault(f"{pointer}/{escape(name)}", "Unknown parameter.") for name in kind.unexpected]
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.UnevaluatedProperties):
        return [Fault(f"{pointer}/{escape(name)}", "Unknown parameter.") for name in kind.unexpected]
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
        return [Fault(f"{pointer}/{escape(kind.property)}", "This parameter is required.")]
    return [Fault(pointer, str(error.message)[:300])]
