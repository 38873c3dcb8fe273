"""What is wrong with a submit beyond its own shape: against its tool, and against what exists."""

from __future__ import annotations

from jobyard_common.contracts.jobs import PARAMETERS_SLOT

from jobyard_gateway.domain.faults import Fault
from jobyard_gateway.domain.strict_json import escape
from jobyard_gateway.domain.submission import Submission
from jobyard_gateway.domain.tools import Tool


def with_tool_faults(
    faults: list[Fault], tool: Tool, tree: dict[str, object], submission: Submission | None
) -> list[Fault]:
    """`faults` and those that only the tool can tell; parameters that lie in a file are its own to judge."""
    parameters = tree.get("parameters", {})
    found = list(faults)
    known = {fault.pointer for fault in faults}
    files = submission.files if submission is not None else tree.get("files", {})
    by_file = isinstance(files, dict) and PARAMETERS_SLOT in files
    if isinstance(parameters, dict) and not by_file:
        found += [fault for fault in tool.faults(parameters) if fault.pointer not in known]
    if isinstance(files, dict) and all(isinstance(value, str) for value in files.values()):
        found += [fault for fault in tool.slot_faults(files) if fault.pointer not in known]
    return found[:100]


def missing_faults(submission: Submission, missing: set[str]) -> list[Fault]:
    """One fault for every place that names something which does not exist."""
    faults = [
        Fault(f"/files/{escape(slot)}", "No such file.") for slot, name in submission.files.items() if name in missing
    ]
    faults += [
        Fault(f"/depends_on/{n}", "No such job.") for n, job in enumerate(submission.depends_on) if job in missing
    ]
    if "queue" in missing:
        faults.append(Fault("/queue", "No such queue."))
    return faults
