"""The AsyncAPI document, with the submit of this service as what producers write."""

from __future__ import annotations

import msgspec
from jobyard_common.contracts.asyncapi import document

from jobyard_gateway.documents.schemas import submit_schema


def asyncapi(*, version: str, bootstrap: str, prefix: str) -> bytes:
    return msgspec.json.encode(
        document(version=version, bootstrap=bootstrap, prefix=prefix, submit_schema=submit_schema())
    )
