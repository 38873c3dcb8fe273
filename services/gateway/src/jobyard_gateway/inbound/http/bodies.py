"""Reading request bodies: counted while they stream, JSON in UTF-8, not compressed."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from jobyard_common.http.context import Receive, Scope
from jobyard_common.http.problems import Problem
from starlette.requests import Request

from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.strict_json import MalformedJson, nul_pointers, parse
from jobyard_gateway.domain.submission import shape_faults
from jobyard_gateway.handlers.submit_job import MAX_BODY_BYTES, refused

T = TypeVar("T", bound=msgspec.Struct)


class TooLarge(Problem):
    """The connection is closed with the answer, so that the rest of the body is not read."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            "payload_too_large", f"The body has more than {limit // 1024} KiB.", headers={"Connection": "close"}
        )


class Gone(Exception):
    """The client hung up before its request was complete; there is nobody to answer."""


async def read_body(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    """The whole body of at most `limit` bytes, whatever Content-Length says.

    Raises:
        TooLarge: as soon as that is certain; no further byte is read.
        Gone: the client hung up.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and (len(value) > 18 or int(value) > limit):
            raise TooLarge(limit)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    body: bytes = message.get("body", b"")
    if len(body) > limit:
        raise TooLarge(limit)
    if not message.get("more_body", False):
        return body
    parts, size = [body], len(body)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def require_json(content_type: bytes, content_encoding: bytes) -> None:
    """Raises Problem: unsupported_media_type."""
    if content_encoding and content_encoding.lower() != b"identity":
        raise Problem("unsupported_media_type", "Send the body without Content-Encoding.")
    if content_type == b"application/json":
        return
    kind, *parameters = (part.strip() for part in content_type.lower().split(b";"))
    if kind != b"application/json":
        raise Problem("unsupported_media_type", "Send the body as application/json.")
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset" and value.strip(b' "') not in (b"utf-8", b"utf8"):
            raise Problem("unsupported_media_type", "JSON is UTF-8; another charset is not read.")


async def json_body(request: Request, kind: type[T], *, optional: bool = False) -> T | None:
    """A small JSON body as `kind`; None for an empty one if it is `optional`.

    Raises:
        Problem: malformed_json, unsupported_media_type, payload_too_large or validation_failed.
    """
    body = await read_body(request.scope, request.receive, limit=MAX_BODY_BYTES)
    if optional and not body.strip():
        return None
    headers = request.headers
    require_json(headers.get("content-type", "").encode(), headers.get("content-encoding", "").encode())
    try:
        tree = parse(body)
    except MalformedJson as error:
        raise Problem("malformed_json", str(error)) from None
    if not isinstance(tree, dict):
        raise refused([Fault("", "The body is not an object.")])
    faults = [Fault(pointer, "A text with a NUL can't be kept.") for pointer in nul_pointers(body, tree)]
    faults += shape_faults(tree, kind, "")
    if faults:
        raise refused(faults)
    return msgspec.json.decode(body, type=kind)
