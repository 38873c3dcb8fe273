"""Submit up to a thousand jobs at once: each item is checked by itself, the good ones are published together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from jobyard_common.contracts.ids import new_id, new_series
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
    refused,
)
from jobyard_gateway.handlers.submit_together import Fresh, Sheet, Together
from jobyard_gateway.outbound.references import away

MAX_ITEMS = 1_000
MAX_BATCH_BYTES = 16 * 1024 * 1024
BREATHE_EVERY = 64
PATH = "/v1/job-batches"


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    items: list[msgspec.Raw]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Batch).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class BatchSubmitter:
    def __init__(self, submitter: Submitter, together: Together, repeats: Repeats, *, cell: str) -> None:
        self._submitter = submitter
        self._together = together
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
        sheet = self._together.sheet(origin)
        answers: dict[int, dict[str, object]] = {}
        drafts = self._admitted(await self._drafts(items, sheet, answers), origin.tenant, answers)
        fresh: list[int] = []
        keyed: dict[str, tuple[int, Draft]] = {}
        for index, draft in drafts.items():
            if isinstance(draft, Fresh):
                fresh.append(index)
            else:
                answers[index] = {"index": index, "job_id": draft.job_id}
                keyed.setdefault(draft.job_id, (index, draft))
        made = [draft for draft in drafts.values() if isinstance(draft, Fresh)]
        for place in await self._together.keep(made, sheet):
            problem = Problem("unavailable", "This job could not be stored safely; it may exist nevertheless.")
            index = fresh[place]
            answers[index] = {**_refusal(index, problem), "job_id": f"job_{made[place].tail}"}
        await self._keep_keyed(list(keyed.values()), answers)
        return self._told(len(items), dict(zip(fresh, made, strict=True)), answers)

    async def _drafts(
        self, items: list[msgspec.Raw], sheet: Sheet, answers: dict[int, dict[str, object]]
    ) -> dict[int, Fresh | Draft]:
        """What can be made of the items; what is wrong with the others goes into `answers`."""
        drafts: dict[int, Fresh | Draft] = {}
        tails = new_series(len(items), cell=self._cell)
        for index, item in enumerate(items):
            if index % BREATHE_EVERY == BREATHE_EVERY - 1:
                await asyncio.sleep(0)
            try:
                text, key = _without_key(bytes(item))
                if key is None:
                    tail = tails[index]
                    drafts[index] = sheet.cast(text, tail) or await sheet.draft(text, tail)
                else:
                    drafts[index] = await self._keyed(text, key, sheet)
            except ServiceAway as error:
                answers[index] = _refusal(index, away(error))
            except Problem as problem:
                answers[index] = _refusal(index, problem)
        return drafts

    async def _keyed(self, text: bytes, key: str, sheet: Sheet) -> Draft:
        checked = self._submitter.read(text)
        await self._submitter.look_up(checked, tenant=sheet.origin.tenant)
        draft = self._submitter.draft(checked, sheet.origin, key=key)
        self._submitter.admit_queue(draft.command)
        return draft

    def _admitted(
        self, drafts: dict[int, Fresh | Draft], tenant: str, answers: dict[int, dict[str, object]]
    ) -> dict[int, Fresh | Draft]:
        """Those that their tenant and their queues have room for.

        Raises:
            Problem: queue_full, if there is no room for a single one.
        """
        queues = [draft.queue if isinstance(draft, Fresh) else draft.command.spec.queue for draft in drafts.values()]
        refusals = self._submitter.admit_all(tenant, queues)
        full = next((problem for problem in reversed(refusals) if problem is not None), None)
        if full is None:
            return drafts
        if all(refusals):
            raise full
        found = {}
        for (index, draft), problem in zip(drafts.items(), refusals, strict=True):
            if problem is None:
                found[index] = draft
            else:
                answers[index] = _refusal(index, problem)
        return found

    def _told(self, count: int, fresh: dict[int, Fresh], answers: dict[int, dict[str, object]]) -> bytes:
        """The answer. An id is plain characters, so a template of it is JSON."""
        rejected = sum(1 for answer in answers.values() if "problem" in answer)
        told = [
            _encode(answers[index])
            if index in answers
            else b'{"index":%d,"job_id":"job_%b"}' % (index, fresh[index].tail.encode())
            for index in range(count)
        ]
        head = b'{"id":"%b","accepted":%d,"rejected":%d,"items":['
        return head % (new_id("batch", cell=self._cell).encode(), count - rejected, rejected) + b",".join(told) + b"]}"

    async def _keep_keyed(self, drafts: list[tuple[int, Draft]], answers: dict[int, dict[str, object]]) -> None:
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
