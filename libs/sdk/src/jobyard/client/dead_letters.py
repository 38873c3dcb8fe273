"""`client.dead_letters` and `client.dead_messages`, blocking and awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec

from jobyard.client import changing, jobs
from jobyard.client.answers import Document
from jobyard.client.changing import given
from jobyard.client.effects import Flow, Request
from jobyard.client.models import JobData, convert
from jobyard.client.part import AsyncPart, Part
from jobyard.client.requests import segment
from jobyard.client.retrying import Policy, call_json

LETTERS, MESSAGES = "/v1/dead-letters", "/v1/dead-messages"


class DeadLetter(msgspec.Struct, frozen=True):
    """A job that failed for good. `state`: open, replayed or discarded; `handled` says who did that, and when."""

    id: str
    state: str
    job: JobData
    handled: dict[str, Any] | None = None
    document: dict[str, Any] = {}

    @property
    def new_job_id(self) -> str | None:
        """The job that a replay made."""
        return (self.handled or {}).get("new_job_id")


class DeadMessage(msgspec.Struct, frozen=True):
    """A record that no consumer could use. `replays` counts how often it went back to its topic."""

    id: str
    state: str
    topic: str
    reason: str
    message: str
    replays: int
    key: str | None = None
    key_encoding: str | None = None
    value: str | None = None
    value_encoding: str | None = None
    value_bytes: int | None = None
    truncated: bool = False
    headers: list[dict[str, Any]] = []
    failed_at: str | None = None
    handled: dict[str, Any] | None = None
    document: dict[str, Any] = {}


def letter_of(document: Document) -> DeadLetter:
    return convert(document | {"document": document}, DeadLetter)


def message_of(document: Document) -> DeadMessage:
    return convert(document | {"document": document}, DeadMessage)


def _letter(job_id: str) -> str:
    return f"{LETTERS}/{segment(job_id, what='a job id')}"


def _message(message_id: str) -> str:
    return f"{MESSAGES}/{segment(message_id, what='an id of a dead record')}"


def _get(path: str, policy: Policy) -> Flow[Document]:
    return (yield from call_json(Request("GET", path), policy))


def _act(path: str, verb: str, document: Mapping[str, Any], policy: Policy) -> Flow[Document]:
    """Sent once: a repeat of one that arrived would be refused as done already."""
    return (yield from changing.act(f"{path}/{verb}", policy, document=given(document), safe=False))


class DeadLetters(Part):
    def list(self, *, max_items: int | None = None, **filters: Any) -> Iterator[DeadLetter]:
        """Newest first. `state`: open (if not given), replayed, discarded or all; further those of `jobs.list`."""
        flow = jobs.pages(LETTERS, self._policy, params=filters, max_items=max_items)
        for row in self._client.iterate(flow):
            yield letter_of(row)

    def get(self, job_id: str) -> DeadLetter:
        return letter_of(self._client.drive(_get(_letter(job_id), self._policy)))

    def replay(
        self, job_id: str, *, parameters: Mapping[str, Any] | None = None, note: str | None = None
    ) -> DeadLetter:
        """Run it again as a new job, with other parameters if they are given. Many at a rate: `client.bulk.start`."""
        document = {"parameters": parameters, "note": note}
        return letter_of(self._client.drive(_act(_letter(job_id), "replay", document, self._policy)))

    def discard(self, job_id: str, *, note: str | None = None) -> DeadLetter:
        """Give it up; the job itself stays as it is."""
        return letter_of(self._client.drive(_act(_letter(job_id), "discard", {"note": note}, self._policy)))


class AsyncDeadLetters(AsyncPart):
    """As `DeadLetters`."""

    async def list(self, *, max_items: int | None = None, **filters: Any) -> AsyncIterator[DeadLetter]:
        flow = jobs.pages(LETTERS, self._policy, params=filters, max_items=max_items)
        async for row in self._client.iterate(flow):
            yield letter_of(row)

    async def get(self, job_id: str) -> DeadLetter:
        return letter_of(await self._client.drive(_get(_letter(job_id), self._policy)))

    async def replay(
        self, job_id: str, *, parameters: Mapping[str, Any] | None = None, note: str | None = None
    ) -> DeadLetter:
        document = {"parameters": parameters, "note": note}
        return letter_of(await self._client.drive(_act(_letter(job_id), "replay", document, self._policy)))

    async def discard(self, job_id: str, *, note: str | None = None) -> DeadLetter:
        return letter_of(await self._client.drive(_act(_letter(job_id), "discard", {"note": note}, self._policy)))


class DeadMessages(Part):
    """Records of the dead-letter topics; for operators."""

    def list(
        self, *, topic: str | None = None, reason: str | None = None, max_items: int | None = None
    ) -> Iterator[DeadMessage]:
        """Newest first; long values are cut."""
        params = {"topic": topic, "reason": reason}
        for row in self._client.iterate(jobs.pages(MESSAGES, self._policy, params=params, max_items=max_items)):
            yield message_of(row)

    def get(self, message_id: str) -> DeadMessage:
        return message_of(self._client.drive(_get(_message(message_id), self._policy)))

    def replay(
        self, message_id: str, *, value: str | None = None, note: str | None = None, force: bool = False
    ) -> DeadMessage:
        """Send it to its topic again, same key and headers. `force`: also when it is older than ten days."""
        document = {"value": value, "note": note, "force": force or None}
        return message_of(self._client.drive(_act(_message(message_id), "replay", document, self._policy)))

    def discard(self, message_id: str, *, note: str | None = None) -> DeadMessage:
        return message_of(self._client.drive(_act(_message(message_id), "discard", {"note": note}, self._policy)))


class AsyncDeadMessages(AsyncPart):
    """As `DeadMessages`."""

    async def list(
        self, *, topic: str | None = None, reason: str | None = None, max_items: int | None = None
    ) -> AsyncIterator[DeadMessage]:
        flow = jobs.pages(MESSAGES, self._policy, params={"topic": topic, "reason": reason}, max_items=max_items)
        async for row in self._client.iterate(flow):
            yield message_of(row)

    async def get(self, message_id: str) -> DeadMessage:
        return message_of(await self._client.drive(_get(_message(message_id), self._policy)))

    async def replay(
        self, message_id: str, *, value: str | None = None, note: str | None = None, force: bool = False
    ) -> DeadMessage:
        document = {"value": value, "note": note, "force": force or None}
        return message_of(await self._client.drive(_act(_message(message_id), "replay", document, self._policy)))

    async def discard(self, message_id: str, *, note: str | None = None) -> DeadMessage:
        return message_of(await self._client.drive(_act(_message(message_id), "discard", {"note": note}, self._policy)))
