"""Parameters that are too large for a submit: uploaded as a file, which the job reads in their place."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobyard.client import requests
from jobyard.client.answers import Document
from jobyard.client.effects import Flow, work
from jobyard.client.models import File
from jobyard.errors import InvalidArgument

SLOT = "$parameters"
BODY_LIMIT = 256 * 1024
FILED_LIMIT = 16 * 2**20
"""What the server accepts as a submit, and as a file of parameters."""

Upload = Callable[[Path], Flow[File]]


def claim_check(body: Document, upload: Upload) -> Flow[Document]:
    """The submit itself, or one that names a file in place of its parameters.

    Raises InvalidArgument for parameters that are too large for a file, too.
    """
    if not body.get("parameters") or len(requests.body(body)) <= BODY_LIMIT:
        return body
    text = requests.body(body["parameters"])
    if len(text) > FILED_LIMIT:
        raise InvalidArgument(
            f"the parameters have {len(text):,} bytes as JSON and may have {FILED_LIMIT:,}; "
            "put the data into a file and give it to one of the tool's slots"
        )
    path = yield from work(lambda: _written(text))
    try:
        file = yield from upload(path)
    finally:
        path.unlink(missing_ok=True)
    rest: dict[str, Any] = {name: value for name, value in body.items() if name != "parameters"}
    return rest | {"files": {**body.get("files", {}), SLOT: file.id}}


def _written(text: bytes) -> Path:
    descriptor, name = tempfile.mkstemp(prefix="jobyard-", suffix=".json")
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    return Path(name)
