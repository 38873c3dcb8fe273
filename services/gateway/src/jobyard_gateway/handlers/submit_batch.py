"""Submit up to a thousand jobs at once: each item is checked by itself, the good ones are published together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from jobyard_common.contracts.ids import new_id
from jobyard_common.http.internal import ServiceAway
from jobyard_common.http.problems import Problem, document

from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.strict_json import MalformedJson, parse
from jobyard_gateway.handlers.repeat_safely import Repeats, checked_key
from jobyard_gateway.handlers.submit_job import (
    LARGER_PARAMETERS,
    MAX_BODY_BYTES,
    Draft,
    Origin,
    Submitter,
    away,
    refused,
)

MAX_ITEMS = 1_000
MAX_BATCH_BYTES = 16 * 1024 * 1024
BREATHE_EVERY = 64
PATH = "/v1/job-batches"


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    items: list[msgspec.Raw]


_decode = msgspec.json.Decoder(_Batch).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class BatchSubmitter:
    def __init__(self, submitter: Submitter, repeats: Repeats, *, cell: str) -> None:
        self._submitter = submitter
        self._repeats = repeats
        self._cell = cell

    async def submit(
        self, body: bytes, origin: Origin, *, on_count: Callable[[int], Awaitable[None]] | None = None
    ) -> bytes:
        """The body of the 202. `on_count` is told how many items there are, before any is looked at.

        Raises:
            Problem: for a fault of the batch itself; faults of items are in the answer.
        """
        items = _items(body)
        if on_count is not None:
            await on_count(len(items))
        answers: list[dict[str, object]] = [{} for _ in items]
        fresh: list[tuple[int, Draft]] = []
        keyed: list[tuple[int, Draft]] = []
        seen: dict[str, int] = {}
        full: Problem | None = None
        for index, item in enumerate(items):
            if index % BREATHE_EVERY == BREATHE_EVERY - 1:
                await asyncio.sleep(0)
            try:
                text, key = _without_key(bytes(item))
                checked = self._submitter.read(text)
                await self._submitter.look_up(checked, tenant=origin.tenant)
                draft = self._submitter.draft(checked, origin, key=key)
                self._submitter.admit(draft)
            except ServiceAway as error:
                answers[index] = _refusal(index, away(error))
            except Problem as problem:
                answers[index] = _refusal(index, problem)
                full = problem if problem.code == "queue_full" else full
            else:
                answers[index] = {"index": index, "job_id": draft.job_id}
                if key is None:
                    fresh.append((index, draft))
                elif draft.job_id not in seen:
                    seen[draft.job_id] = index
                    keyed.append((index, draft))
        if full is not None and not fresh and not keyed:
            raise full
        await self._keep(fresh, answers)
        await self._keep_keyed(keyed, answers)
        accepted = sum(1 for answer in answers if "job_id" in answer and "problem" not in answer)
        return msgspec.json.encode(
            {
                "id": new_id("batch", cell=self._cell),
                "accepted": accepted,
                "rejected": len(answers) - accepted,
                "items": answers,
            }
        )

    async def _keep(self, drafts: list[tuple[int, Draft]], answers: list[dict[str, object]]) -> None:
        if not drafts:
            return
        kept = await self._submitter.keep_many([draft for _, draft in drafts])
        for (index, draft), durable in zip(drafts, kept, strict=True):
            if not durable:
                problem = Problem("unavailable", "This job could not be stored safely; it may exist nevertheless.")
                answers[index] = {**_refusal(index, problem), "job_id": draft.job_id}

    async def _keep_keyed(self, drafts: list[tuple[int, Draft]], answers: list[dict[str, object]]) -> None:
        gate = asyncio.Semaphore(64)

        async def one(index: int, draft: Draft) -> None:
            async with gate:
                try:
                    if await self._repeats.keep(draft):
                        answers[index]["replayed"] = True
                except Problem as problem:
                    answers[index] = {**_refusal(index, problem), "job_id": draft.job_id}

        await asyncio.gather(*(one(index, draft) for index, draft in drafts))


def _items(body: bytes) -> list[msgspec.Raw]:
    try:
        items = _decode(body).items
    except msgspec.ValidationError:
        try:
            msgspec.json.decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise Problem("malformed_json", str(error)[:200]) from None
        raise refused([Fault("/items", 'Expected {"items": [<submit>, …]} and nothing else.')]) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Problem("malformed_json", str(error)[:200]) from None
    if not 1 <= len(items) <= MAX_ITEMS:
        raise refused([Fault("/items", f"1 to {MAX_ITEMS:,} items.")])
    return items


def _without_key(item: bytes) -> tuple[bytes, str | None]:
    """The submit in an item, and its key."""
    if len(item) > MAX_BODY_BYTES:
        raise Problem("payload_too_large", f"An item has more than {MAX_BODY_BYTES // 1024} KiB. {LARGER_PARAMETERS}")
    if b"idempotency_key" not in item or not item.lstrip().startswith(b"{"):
        return item, None
    try:
        # Taking the key out writes the object anew, and would hide a key that came twice.
        parse(item)
    except MalformedJson as error:
        raise Problem("malformed_json", str(error)) from None
    members = _members(item)
    raw = members.pop("idempotency_key", None)
    if raw is None:
        return item, None
    value = msgspec.json.decode(raw)
    if value is None:
        return msgspec.json.encode(members), None
    if not isinstance(value, str):
        raise refused([Fault("/idempotency_key", "1 to 255 visible ASCII characters.")])
    try:
        return msgspec.json.encode(members), checked_key(value)
    except Problem:
        raise refused([Fault("/idempotency_key", "1 to 255 visible ASCII characters.")]) from None


def _refusal(index: int, problem: Problem) -> dict[str, object]:
    return {"index": index, "problem": document(problem, instance=f"{PATH}#/items/{index}")}
