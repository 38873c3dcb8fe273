"""What the parts of a client have in common: the client that they belong to, and its patience."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobyard.client.clients import AsyncClient, Client


class Part:
    """One group of calls of a `Client`, such as `client.queues`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._policy = client.operations.policy


class AsyncPart:
    """The same of an `AsyncClient`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._policy = client.operations.policy
