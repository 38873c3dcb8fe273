"""Dead records by HTTP, for the gateway; only operators reach it."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import msgspec
from jobyard_common.http.internal import caller
from jobyard_common.http.problems import FieldError, Problem
from jobyard_common.messaging.inbound import Inbound
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobyard_executor.domain.dead_message import ORIGINAL, Place, place_of, replays
from jobyard_executor.domain.snapshot import moment
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.steer_letters import DiscardBody, ReplayMessageBody, discard_message, replay_message
from jobyard_executor.inbound import http_shapes as shapes
from jobyard_executor.inbound.http_parts import body_of, get, post
from jobyard_executor.outbound.dead_topics import BadCursor, DeadTopics, TopicsAway
from jobyard_executor.store import dead_letters as store
from jobyard_executor.store.dead_letters import HandledMessage

SHOWN_BYTES = 4096
_PARAMETERS = ("topic", "reason", "limit", "cursor")
_WHY = "dlt-"


class DeadMessageApi:
    def __init__(self, engine: Engine, pool: asyncpg.Pool, topics: DeadTopics) -> None:
        self._engine = engine
        self._pool = pool
        self._topics = topics

    def routes(self) -> Sequence[Route]:
        one = "/dead-messages/{message_id}"
        return [
            get("/dead-messages", _reachable(self.list)),
            get(one, _reachable(self.get)),
            post(f"{one}/replay", _reachable(self.replay)),
            post(f"{one}/discard", _reachable(self.discard)),
        ]

    async def list(self, request: Request) -> Response:
        query, limit = request.query_params, shapes.limit_of(request.query_params)
        topics, reason = _topics(query), query.get("reason")
        try:
            found, cursor = await self._topics.page(
                topics,
                wanted=lambda row: reason is None or row.header("dlt-reason") == reason,
                cursor=query.get("cursor"),
                limit=limit,
            )
        except BadCursor:
            raise Problem("validation_failed", errors=[FieldError("cursor", "is not a cursor of this list")]) from None
        done = await store.handled_messages(self._pool, [(row.topic, row.partition, row.offset) for row in found])
        data = [_shape(row, _done(done, row), most=SHOWN_BYTES) for row in found]
        return shapes.answer({"data": data, "next_cursor": cursor, "has_more": cursor is not None})

    async def get(self, request: Request) -> Response:
        return await self._answer(await self._found(request))

    async def replay(self, request: Request) -> Response:
        body, who = await body_of(request, ReplayMessageBody), caller(request)
        record = await self._found(request)
        async with self._pool.acquire() as connection, connection.transaction():
            await replay_message(self._engine, connection, record, body, caller=who)
        self._engine.wake_relay()
        return await self._answer(record, status=202)

    async def discard(self, request: Request) -> Response:
        body, who = await body_of(request, DiscardBody), caller(request)
        record = await self._found(request)
        async with self._pool.acquire() as connection, connection.transaction():
            await discard_message(self._engine, connection, record, body, caller=who)
        self._engine.wake_relay()
        return await self._answer(record)

    async def _found(self, request: Request) -> Inbound:
        place = place_of(request.path_params["message_id"])
        record = None if place is None else await self._topics.get(place)
        if record is None:
            raise Problem("not_found")
        return record

    async def _answer(self, record: Inbound, *, status: int = 200) -> Response:
        done = await store.handled_messages(self._pool, [(record.topic, record.partition, record.offset)])
        return shapes.answer(_shape(record, _done(done, record), most=None), status=status)


def _reachable(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except TopicsAway as error:
            raise Problem("unavailable", f"The dead-letter topics can't be read: {error}") from None

    return answer


def _topics(query: QueryParams) -> Sequence[str]:
    """All, or that of one topic."""
    asked = query.get("topic")
    if asked is None:
        return list(ORIGINAL)
    found = [name for name, original in ORIGINAL.items() if asked in (name, original)]
    if not found:
        known = ", ".join(sorted(ORIGINAL.values()))
        raise Problem("validation_failed", errors=[FieldError("topic", f"no such topic; known are {known}")])
    return found


def _done(done: dict[tuple[str, int, int, bytes], HandledMessage], record: Inbound) -> HandledMessage | None:
    return done.get((record.topic, record.partition, record.offset, record.fingerprint()))


def _shape(record: Inbound, done: HandledMessage | None, *, most: int | None) -> dict[str, object]:
    value = record.value if most is None or record.value is None else record.value[:most]
    text, encoding = _text(value, cut=most is not None)
    key, key_encoding = _text(record.key)
    handled: dict[str, object] | None = None
    if done is not None:
        handled = {
            "action": done.action,
            "edited": done.edited,
            "note": done.note,
            "by": msgspec.Raw(done.actor.encode()),
            "at": moment(done.at),
        }
    return {
        "id": str(Place(record.topic, record.partition, record.offset)),
        "state": "open" if done is None else done.action,
        "topic": ORIGINAL[record.topic],
        "partition": _number(record.header("dlt-original-partition")),
        "offset": _number(record.header("dlt-original-offset")),
        "reason": record.header("dlt-reason"),
        "message": record.header("dlt-message"),
        "group": record.header("dlt-group"),
        "failed_at": record.header("dlt-failed-at"),
        "replays": replays(record),
        "key": key,
        "key_encoding": key_encoding,
        "value": text,
        "value_encoding": encoding,
        "value_bytes": None if record.value is None else len(record.value),
        "truncated": value is not None and record.value is not None and len(value) < len(record.value),
        "headers": [
            {"name": name, "value": text, "encoding": kind}
            for name, raw in record.headers
            if not name.startswith(_WHY)
            for text, kind in [_text(raw)]
        ],
        "handled": handled,
    }


def _text(raw: bytes | None, *, cut: bool = False) -> tuple[str | None, str | None]:
    """UTF-8 where it is that, Base64 otherwise; a cut may have split the last character."""
    if raw is None:
        return None, None
    for end in range(len(raw), max(-1, len(raw) - (4 if cut else 1)), -1):
        try:
            return raw[:end].decode(), "utf-8"
        except UnicodeDecodeError:
            continue
    return base64.b64encode(raw).decode(), "base64"


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
