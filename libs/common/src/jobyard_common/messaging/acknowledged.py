"""What becomes of records that were published."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from aiokafka.errors import InvalidTopicError, MessageSizeTooLargeError, RecordTooLargeError


class Sent(msgspec.Struct, frozen=True):
    """Where an acknowledged record is."""

    partition: int
    offset: int


class PublishFailed(Exception):
    """The record was not acknowledged in time; unless `permanent`, it may still arrive, and may be sent again."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent


class Lot(msgspec.Struct, frozen=True):
    """Records that went together, by their numbers; a `Sent` says where the first of them is."""

    numbers: Sequence[int]
    answer: Sent | PublishFailed

    def last(self) -> Sent | None:
        """Where the last of them is, if they were acknowledged."""
        answer = self.answer
        return Sent(answer.partition, answer.offset + len(self.numbers) - 1) if isinstance(answer, Sent) else None


def sent(meta: Any) -> Sent:
    return Sent(meta.partition, meta.offset)


def answer_of(future: asyncio.Future[Any]) -> Sent | PublishFailed:
    """Of a send whose time is up."""
    if not future.done():
        # The batch may still be delivered; nobody waits for it any more.
        future.add_done_callback(lambda late: late.cancelled() or late.exception())
        return PublishFailed("no acknowledgement in time")
    if future.cancelled():
        return PublishFailed("the producer was stopped")
    error = future.exception()
    return failed(error) if error is not None else sent(future.result())


def failed(error: BaseException) -> PublishFailed:
    permanent = isinstance(error, MessageSizeTooLargeError | RecordTooLargeError | InvalidTopicError)
    return PublishFailed(f"{type(error).__name__}: {error}"[:300], permanent=permanent)
