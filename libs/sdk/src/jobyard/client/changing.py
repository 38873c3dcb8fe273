"""Calls that change a resource other than a job: sent again only where that does no harm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobyard.client.answers import Document
from jobyard.client.effects import Flow, Request
from jobyard.client.requests import body, mint_key, post
from jobyard.client.retrying import Policy, call, call_json


def make(
    path: str, document: Mapping[str, Any], policy: Policy, *, idempotency_key: str | None = None
) -> Flow[Document]:
    """A POST that makes something; its key keeps a lost answer from making two."""
    key = mint_key() if idempotency_key is None else idempotency_key
    return (yield from call_json(post(path, document, idempotency_key=key), policy))


def act(path: str, policy: Policy, *, document: Mapping[str, Any] | None = None, safe: bool) -> Flow[Document]:
    """A verb; `safe` says that doing it twice is the same as once."""
    return (yield from call_json(post(path, document), policy, safe=safe))


def replace(path: str, document: Mapping[str, Any], policy: Policy, *, if_match: str | None) -> Flow[Document]:
    """With a condition it is sent once: a repeat of one that arrived would be refused."""
    headers = {"Content-Type": "application/json"} | ({"If-Match": if_match} if if_match else {})
    request = Request("PUT", path, headers=headers, content=body(document))
    return (yield from call_json(request, policy, safe=if_match is None))


def delete(path: str, policy: Policy, *, if_match: str | None = None) -> Flow[None]:
    headers = {"If-Match": if_match} if if_match else {}
    yield from call(Request("DELETE", path, headers=headers), policy, safe=if_match is None)


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is None."""
    return {name: value for name, value in options.items() if value is not None}
