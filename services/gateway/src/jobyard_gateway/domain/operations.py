"""Bulk operations and dead letters as people send them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from jobyard_common.contracts.operations import BulkAction
from jobyard_common.contracts.wire import OptionalRaw
from msgspec import Meta

from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.queries import Pairs, job_count_faults
from jobyard_gateway.domain.strict_json import escape
from jobyard_gateway.domain.submission import Moment

MAX_IDS = 10_000
Note = Annotated[str, Meta(max_length=1000)]


class BulkDocument(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/bulk-operations`: `filter` in the grammar of the job list, or `ids`."""

    action: BulkAction
    filter: dict[str, Any] | None = None
    ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=MAX_IDS)] | None = None
    dead: bool = False
    rate_per_s: Annotated[float, Meta(ge=0.01, le=100_000)] | None = None
    run_at: Moment | None = None
    note: Note | None = None
    dry_run: bool = False


class ReplayLetterDocument(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The body of `POST /v1/dead-letters/{id}/replay`."""

    parameters: OptionalRaw = None
    note: Note | None = None


class DiscardDocument(msgspec.Struct, forbid_unknown_fields=True):
    note: Note | None = None


class ReplayMessageDocument(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/dead-messages/{id}/replay`; `value` is the record's new value as text."""

    value: str | None = None
    note: Note | None = None
    force: bool = False


def bulk_faults(document: BulkDocument) -> list[Fault]:
    """What shape alone does not tell."""
    faults = []
    if (document.filter is None) == (document.ids is None):
        faults.append(Fault("", "Give filter or ids."))
    if document.action is BulkAction.RESCHEDULE and document.run_at is None:
        faults.append(Fault("/run_at", "Reschedule to when?"))
    elif document.action is not BulkAction.RESCHEDULE and document.run_at is not None:
        faults.append(Fault("/run_at", f"Means nothing for {document.action}."))
    if document.dead and document.action in (BulkAction.CANCEL, BulkAction.RESCHEDULE):
        faults.append(Fault("/dead", f"A dead job has ended: {document.action} cannot change it."))
    if document.dead and document.ids is not None:
        faults.append(Fault("/dead", "Narrows a filter; ids are taken as they are."))
    if document.filter is None:
        return faults
    if not document.filter and not document.dead and document.action is not BulkAction.DISCARD:
        faults.append(Fault("/filter", "An empty filter means every job; name at least one member."))
    pairs, wrong = filter_pairs(document.filter)
    return (
        faults + wrong + [Fault(f"/filter/{escape(fault.pointer)}", fault.message) for fault in job_count_faults(pairs)]
    )


def filter_pairs(tree: dict[str, Any]) -> tuple[Pairs, list[Fault]]:
    """A filter as query parameters: a list repeats its name, `metadata` becomes `metadata.K`."""
    pairs: Pairs = []
    faults = []
    for name, value in tree.items():
        here = f"/filter/{escape(name)}"
        if name == "metadata" and isinstance(value, dict):
            members = [(f"metadata.{key}", item) for key, item in value.items()]
        else:
            members = [(name, item) for item in value] if isinstance(value, list) else [(name, value)]
        if not members or not all(isinstance(item, str) for _, item in members):
            faults.append(Fault(here, "Expected a text, or a list of texts."))
        else:
            pairs += members
    return pairs, faults
