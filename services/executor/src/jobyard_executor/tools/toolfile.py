"""Reading one `tool.toml` into a CommandTool, strictly: a typing error must not become a tool that does less."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from jobyard.author.registry import LONGEST_S, NAME, QUEUE, RETRY_MEMBERS, SLOT, VERSION, MinIsolation, Slot

from jobyard_executor.tools.argv import ArgvInvalid, resolve
from jobyard_executor.tools.command import CommandTool
from jobyard_executor.tools.errors import ToolFileInvalid
from jobyard_executor.tools.schema import SchemaInvalid, closed_schema

LARGEST = 64 * 1024
REQUIRED = ("name", "version", "argv")
KNOWN = frozenset(
    {
        *REQUIRED,
        "title",
        "description",
        "parameters",
        "slots",
        "queue",
        "timeout_s",
        "soft_timeout_s",
        "cache_ttl_s",
        "min_isolation",
        "retry",
        "limits",
        "examples",
    }
)
SLOT_KEYS = frozenset({"required", "content_types", "description"})
BACKOFFS = ("fixed", "linear", "exponential")


def read(path: Path) -> CommandTool:
    """The tool that `path` describes. Raises ToolFileInvalid."""
    table = _Table(path, _parse(path))
    table.only(KNOWN)
    table.needs(REQUIRED)
    name = table.text("name", longest=128)
    if not NAME.fullmatch(name):
        raise table.fault("name", f"{name!r} is not lower-case words joined by dots")
    version = table.text("version", longest=20)
    if not VERSION.fullmatch(version):
        raise table.fault("version", f"{version!r} is not of the form 1, 1.2 or 1.2.3")
    queue = table.text("queue", default="default", longest=128)
    if not QUEUE.fullmatch(queue):
        raise table.fault("queue", f"{queue!r} must match {QUEUE.pattern}")
    timeout_s = table.seconds("timeout_s")
    soft_timeout_s = table.seconds("soft_timeout_s")
    if soft_timeout_s is not None and soft_timeout_s >= (timeout_s or 3600):
        raise table.fault("soft_timeout_s", "must be below timeout_s")
    return CommandTool(
        name=name,
        version=version,
        title=table.text("title", default=name, longest=200),
        description=table.text("description", default="", longest=16_384),
        argv=_argv(table, path.parent),
        folder=path.parent.resolve(),
        parameters=_parameters(table),
        queue=queue,
        min_isolation=_min_isolation(table),
        timeout_s=timeout_s,
        soft_timeout_s=soft_timeout_s,
        retry=_retry(table),
        slots=_slots(table),
        limits=table.mapping("limits"),
        examples=_examples(table),
        cache_ttl_s=table.seconds("cache_ttl_s"),
    )


def _parse(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise ToolFileInvalid(path, "", "is not a regular file")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ToolFileInvalid(path, "", f"has more than {LARGEST:,} bytes")
        return tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise ToolFileInvalid(path, "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ToolFileInvalid(path, "", f"is not UTF-8 (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise ToolFileInvalid(path, "", f"is no valid TOML: {error}") from None
    except RecursionError:
        raise ToolFileInvalid(path, "", "is nested too deeply") from None


def _argv(table: _Table, folder: Path) -> tuple[str, ...]:
    argv = table.content["argv"]
    if not isinstance(argv, list) or not all(isinstance(argument, str) for argument in argv):
        raise table.fault("argv", 'must be a list of texts, for example ["sh", "{folder}/run.sh"]')
    try:
        return resolve(argv, folder=folder)
    except ArgvInvalid as error:
        raise table.fault(f"argv[{error.index}]" if error.index is not None else "argv", str(error)) from None


def _parameters(table: _Table) -> Mapping[str, Any]:
    try:
        return closed_schema(table.mapping("parameters"))
    except SchemaInvalid as error:
        raise table.fault("parameters" + error.place, str(error)) from None


def _min_isolation(table: _Table) -> MinIsolation:
    level = table.text("min_isolation", default="L1", longest=2)
    if level not in get_args(MinIsolation):
        raise table.fault("min_isolation", f"{level!r} is none of {', '.join(get_args(MinIsolation))}")
    return level  # type: ignore[return-value]


def _retry(table: _Table) -> Mapping[str, Any]:
    retry = _Table(table.path, table.mapping("retry"), "retry.")
    retry.only(RETRY_MEMBERS)
    retry.whole("max_attempts", low=1, high=100)
    for member in ("base_s", "cap_s", "budget_s"):
        retry.seconds(member)
    jitter = retry.content.get("jitter", 0)
    if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter <= 1:
        raise retry.fault("jitter", "must be a number from 0 to 1")
    if retry.text("backoff", default="fixed", longest=20) not in BACKOFFS:
        raise retry.fault("backoff", f"is none of {', '.join(BACKOFFS)}")
    retry.texts("non_retryable")
    return retry.content


def _slots(table: _Table) -> Mapping[str, Slot]:
    slots = {}
    for name, content in table.mapping("slots").items():
        key = f"slots.{name}"
        if not SLOT.fullmatch(name):
            raise table.fault(key, f"the name of a slot must match {SLOT.pattern}")
        if not isinstance(content, dict):
            raise table.fault(key, "must be a table")
        slot = _Table(table.path, content, f"{key}.")
        slot.only(SLOT_KEYS)
        required = content.get("required", True)
        if not isinstance(required, bool):
            raise slot.fault("required", "must be true or false")
        slots[name] = Slot(
            required=required,
            content_types=slot.texts("content_types"),
            description=slot.text("description", default="", longest=1000),
        )
    return slots


def _examples(table: _Table) -> tuple[Mapping[str, Any], ...]:
    examples = table.content.get("examples", [])
    if not isinstance(examples, list) or not all(isinstance(example, dict) for example in examples):
        raise table.fault("examples", "must be a list of tables")
    table.plain("examples")
    return tuple(examples)


class _Table:
    """A TOML table with the place it came from, for messages that name file and key."""

    def __init__(self, path: Path, content: dict[str, Any], prefix: str = "") -> None:
        self.path = path
        self.content = content
        self._prefix = prefix

    def fault(self, key: str, message: str) -> ToolFileInvalid:
        return ToolFileInvalid(self.path, self._prefix + key, message)

    def only(self, known: frozenset[str]) -> None:
        for key in self.content:
            if key not in known:
                raise self.fault(key, f"is not known here; known are {', '.join(sorted(known))}")

    def needs(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            if key not in self.content:
                raise self.fault(key, "is missing")

    def text(self, key: str, *, longest: int, default: str | None = None) -> str:
        value = self.content.get(key, default)
        if not isinstance(value, str):
            raise self.fault(key, f'must be a text in quotes, for example {key} = "1"')
        if len(value) > longest:
            raise self.fault(key, f"has more than {longest:,} characters")
        if "\x00" in value:
            raise self.fault(key, "holds a NUL character")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.content.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self.fault(key, "must be a list of texts")
        return tuple(values)

    def seconds(self, key: str) -> float | None:
        value = self.content.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_S:
            raise self.fault(key, f"must be a number of seconds above 0 and at most {LONGEST_S:.0f}")
        return float(value)

    def whole(self, key: str, *, low: int, high: int) -> None:
        value = self.content.get(key, low)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fault(key, f"must be a whole number from {low} to {high}")

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.content.get(key, {})
        if not isinstance(value, dict):
            raise self.fault(key, "must be a table")
        self.plain(key)
        return value

    def plain(self, key: str) -> None:
        """Require what JSON can hold: TOML also knows dates, infinity and NaN."""
        try:
            json.dumps(self.content.get(key), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise self.fault(key, f"cannot be written as JSON: {error}") from None
