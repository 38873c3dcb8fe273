"""Many submits in few requests. Each carries a key of its own, so a lost answer makes no second job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from jobyard.client.answers import Document
from jobyard.client.effects import Flow, Request
from jobyard.client.models import convert
from jobyard.client.requests import body, mint_key
from jobyard.client.retrying import Policy, call_json
from jobyard.errors import InvalidArgument, UnexpectedAnswer

PATH = "/v1/job-batches"
MOST_ITEMS = 1_000
MOST_BYTES = 15 * 1024 * 1024


class BatchItem(msgspec.Struct, frozen=True):
    """What became of the submit at `index`: its job, or the problem that it was refused for. With both the outcome is
    unknown, and the same key may be sent again; `replayed` says that the key had made the job before."""

    index: int
    job_id: str | None = None
    problem: dict[str, Any] | None = None
    replayed: bool = False

    @property
    def accepted(self) -> bool:
        return self.job_id is not None and self.problem is None


def submit_many(items: Iterable[Mapping[str, Any]], policy: Policy) -> Flow[list[BatchItem]]:
    found = list[BatchItem]()
    for start, texts in _requests(items):
        content = b'{"items":[' + b",".join(texts) + b"]}"
        request = Request("POST", PATH, headers={"Content-Type": "application/json"}, content=content)
        found += _outcomes((yield from call_json(request, policy, safe=True)), start=start, count=len(texts))
    return found


def _requests(items: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, list[bytes]]]:
    """Items as JSON, as many as one request takes, with the index of the first."""
    start, texts, size = 0, list[bytes](), 0
    for item in items:
        if not isinstance(item, Mapping) or not isinstance(item.get("tool"), str):
            raise InvalidArgument(f"item {start + len(texts)} is no submit: an object with `tool`")
        text = body({"idempotency_key": mint_key(), **item})
        if texts and (len(texts) == MOST_ITEMS or size + len(text) > MOST_BYTES):
            yield start, texts
            start, texts, size = start + len(texts), [], 0
        texts.append(text)
        size += len(text) + 1
    if texts:
        yield start, texts


def _outcomes(answer: Document, *, start: int, count: int) -> list[BatchItem]:
    rows = answer.get("items")
    if not isinstance(rows, list) or len(rows) != count:
        raise UnexpectedAnswer(f"POST {PATH}: an answer without an outcome for each item")
    return [msgspec.structs.replace(convert(row, BatchItem), index=start + place) for place, row in enumerate(rows)]
