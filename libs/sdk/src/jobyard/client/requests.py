"""Building requests: paths, queries, bodies and keys that no server could misread."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote

from jobyard.client.effects import Request
from jobyard.errors import InvalidArgument

_MAX_SEGMENT = 512


def segment(text: str, *, what: str) -> str:
    """One path segment. Raises InvalidArgument for a text that can be no name."""
    if not text or text in (".", "..") or len(text) > _MAX_SEGMENT or not text.isprintable():
        raise InvalidArgument(f"{text[:80]!r} is not {what}")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise InvalidArgument(f"{text[:80]!r} is not {what}") from None


def query(values: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """Query parameters; None is left out, a list repeats its name, `metadata` becomes `metadata.K`."""
    pairs = list[tuple[str, str]]()
    for name, value in values.items():
        if value is None:
            continue
        if name == "metadata" and isinstance(value, Mapping):
            pairs += [(f"metadata.{key}", _text(item)) for key, item in value.items()]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            pairs += [(name, _text(item)) for item in value]
        else:
            pairs.append((name, _text(value)))
    return tuple(pairs)


def body(document: object) -> bytes:
    """JSON bytes. Raises InvalidArgument for what JSON cannot say."""
    try:
        text = json.dumps(_plain(document), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidArgument("a text in the request is not valid Unicode") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"the request is not JSON: {error}") from None


def post(
    path: str, document: object | None = None, *, idempotency_key: str | None = None, headers: Mapping[str, str] = {}
) -> Request:
    """A POST, with a body where there is a document."""
    every = dict(headers)
    if idempotency_key is not None:
        every["Idempotency-Key"] = checked_key(idempotency_key)
    if document is not None:
        every["Content-Type"] = "application/json"
    return Request("POST", path, headers=every, content=b"" if document is None else body(document))


def mint_key() -> str:
    return f"jobyard-py-{secrets.token_hex(16)}"


def checked_key(key: str) -> str:
    if not 1 <= len(key) <= 255 or not all("!" <= character <= "~" for character in key):
        raise InvalidArgument("an idempotency key is 1 to 255 visible ASCII characters")
    return key


def rfc3339(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise InvalidArgument(f"{moment.isoformat()} has no time zone")
    return moment.isoformat(timespec="milliseconds")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgument(f"JSON has no {value}")
    return value


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise InvalidArgument(f"the name {key!r} of a JSON member is not text")
    return key


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = rfc3339(value) if isinstance(value, datetime) else str(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidArgument(f"{text[:80]!r} is not valid Unicode") from None
    return text
