"""The OpenAPI document: FastAPI's walk over the routes, with what it can't know added."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from jobyard_gateway.documents import schemas as doc
from jobyard_gateway.documents.shapes import operation, ref

_PARAMETER = re.compile(r"{(\w+)}")
DESCRIPTION = "Submit jobs, follow them, get their results. Every refusal is a problem document (RFC 9457)."


def openapi_of(app: FastAPI, *, version: str) -> dict[str, Any]:
    document = get_openapi(
        title="Jobyard", version=version, openapi_version="3.1.0", description=DESCRIPTION, routes=app.routes
    )
    paths = document["paths"]
    for path, operations in paths.items():
        own = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(path)
        ]
        for one in operations.values():
            one["responses"].pop("422", None)
            if "default" in one["responses"] and not one["responses"].get("200", {}).get("content"):
                _drop_default(one)
            if own:
                one["parameters"] = own + one.get("parameters", [])
    paths.setdefault("/v1/jobs", {})["post"] = _submit()
    document["components"] = {
        "schemas": doc.components(),
        "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key, jy_…"}},
    }
    document["security"] = [{"apiKey": []}]
    return document


@lru_cache(maxsize=4)
def encoded(app: FastAPI, version: str) -> bytes:
    return msgspec.json.encode(openapi_of(app, version=version))


def _drop_default(found: dict[str, Any]) -> None:
    # FastAPI adds a 200 to every operation, also to those that answer with 201, 202 or 204.
    others = [status for status in found["responses"] if status not in ("200", "default")]
    if others:
        found["responses"].pop("200", None)


def _submit() -> dict[str, Any]:
    found = operation(ok=(202, "Job"), parameters=doc.SUBMIT_HEADERS, body="Submission")
    found["requestBody"]["required"] = True
    found["responses"]["200"] = {
        "description": "The job has ended within `Prefer: wait`.",
        "content": {"application/json": {"schema": ref("Job")}},
    }
    return {"summary": "Submit a job", "operationId": "post_jobs", "tags": ["jobs"], **found}
