"""A bulk operation and the replay of a dead job, checked before the executor sees them."""

from __future__ import annotations

import msgspec
from jobyard_common.contracts.wire import encode, milliseconds
from jobyard_common.http.problems import Problem

from jobyard_gateway.domain.operations import BulkDocument, ReplayLetterDocument, bulk_faults, filter_pairs
from jobyard_gateway.domain.strict_json import parse
from jobyard_gateway.domain.tools import Registry
from jobyard_gateway.handlers.submit_job import refused


class _Job(msgspec.Struct):
    tool: str
    tool_version: str


class _Letter(msgspec.Struct):
    job: _Job


def bulk_content(document: BulkDocument) -> bytes:
    """The operation as the executor takes it, its filter as query parameters.

    Raises:
        Problem: validation_failed with every fault.
    """
    if faults := bulk_faults(document):
        raise refused(faults)
    found = {name: getattr(document, name) for name in document.__struct_fields__}
    if document.filter is not None:
        found["filter"] = filter_pairs(document.filter)[0]
    if document.run_at is not None:
        found["run_at"] = milliseconds(document.run_at)
    return encode(found)


def check_parameters(letter: bytes, document: ReplayLetterDocument, registry: Registry) -> None:
    """New parameters must fit the version of the tool that the dead job ran; one that is gone can't say.

    Raises:
        Problem: validation_failed.
    """
    if document.parameters is None:
        return
    job = msgspec.json.decode(letter, type=_Letter).job
    tool = registry.find(f"{job.tool}@{job.tool_version}")
    if tool is None:
        raise Problem("unknown_tool", f"{job.tool} is not there in version {job.tool_version} any more.")
    if faults := tool.faults(parse(bytes(document.parameters))):
        raise refused(faults)
