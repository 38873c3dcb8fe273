"""JSON Schemas of the messages: generated, committed, and compared, so that no change breaks a reader unnoticed.

`python -m jobyard_common.contracts.schemas write` renews the committed files and refuses a breaking change: that one
needs a new version of the type beside the old.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from jobyard_common.contracts.catalogue import MESSAGES, Message

FOLDER = Path(__file__).parent / "schema"
Schema = dict[str, Any]


def generated(message: Message) -> Schema:
    """The schema of one message type, self-contained."""
    (root,), components = msgspec.json.schema_components([message.shape], ref_template="#/$defs/{name}")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": message.type}
    whole = {**head, "description": message.meaning, **root, "$defs": components}
    return dict(json.loads(msgspec.json.encode(whole)))


def committed(message: Message) -> Schema:
    return dict(json.loads(path_of(message).read_text()))


def path_of(message: Message) -> Path:
    return FOLDER / f"{message.type}.json"


def breaking(old: Any, new: Any, *, where: str = "") -> list[str]:
    """What a writer or reader of `old` would trip over in `new`, as sentences with the place."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return []
    found = []
    if old.get("type") != new.get("type") or old.get("$ref") != new.get("$ref"):
        found.append(f"{where or '/'}: the type changed")
    if lost := sorted(set(old.get("enum", ())) - set(new.get("enum", ()))):
        found.append(f"{where}: lost the values {', '.join(map(str, lost))}")
    if added := sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        found.append(f"{where}: now requires {', '.join(added)}")
    for group in ("properties", "$defs"):
        before, after = old.get(group, {}), new.get(group, {})
        for name, shape in before.items():
            if name not in after:
                found.append(f"{where}/{name}: was removed")
            else:
                found += breaking(shape, after[name], where=f"{where}/{name}")
    return found


def write() -> list[str]:
    """Renew the committed schemas; returns the breaking changes, none of which was written."""
    FOLDER.mkdir(exist_ok=True)
    refused = []
    for message in MESSAGES:
        schema, path = generated(message), path_of(message)
        faults = breaking(committed(message), schema) if path.exists() else []
        if faults:
            refused += [f"{message.type}{fault}" for fault in faults]
            continue
        path.write_text(json.dumps(schema, indent=1, sort_keys=True) + "\n")
    return refused


def main() -> int:
    if sys.argv[1:] != ["write"]:
        print(__doc__, file=sys.stderr)
        return 2
    refused = write()
    for line in refused:
        print(f"breaking: {line}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(main())
