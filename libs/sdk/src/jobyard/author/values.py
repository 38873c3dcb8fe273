"""JSON in and out of a tool: integers exact, other numbers as the nearest double, member order kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pydantic

from jobyard.author.errors import ResultInvalid, ResultTooLarge

RESULT_LIMIT = 256 * 1024


@dataclass(frozen=True)
class Result:
    """What a tool returns when it wants to be explicit: `Result(value)`. Returning the value itself is the same."""

    value: Any = None


def encode_result(value: Any) -> bytes:
    """The JSON text of a tool's return value: plain data, pydantic models, dataclasses, dates and paths.

    Raises ResultTooLarge above 256 KiB, and ResultInvalid for what JSON cannot hold (NaN, lone surrogates, other
    objects, cycles).
    """
    try:
        text = json.dumps(_content(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
        encoded = text.encode()
    except UnicodeEncodeError:
        raise ResultInvalid("The result holds text that is no valid Unicode (a lone surrogate).") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultInvalid(f"The result cannot be written as JSON: {error}.") from None
    if len(encoded) > RESULT_LIMIT:
        raise ResultTooLarge(len(encoded), limit=RESULT_LIMIT)
    return encoded


def _content(value: Any) -> Any:
    return value.value if isinstance(value, Result) else value


def _plain(value: Any) -> Any:
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="python")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID | Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
