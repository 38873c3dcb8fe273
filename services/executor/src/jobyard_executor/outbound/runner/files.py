"""Input files to the work dir before the tool, output files from it after: the only place where a job is awaited."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from jobyard_common.telemetry.context import current_correlation

from jobyard_executor.domain.assignment import Assignment, FilesPort, OutputFile
from jobyard_executor.worker.messages import Line
from jobyard_executor.worker.text import bounded

MAX_OUTPUTS = 1000
MAX_OUTPUT_BYTES = 10 * 2**30
TRIES = 3
PAUSE_S = 0.2
NAMED_IN_LOG = 20


class FilesUnavailable(Exception):
    """The files service did not give or take a file; trying the job again may help."""


class TooManyOutputs(Exception):
    """The tool wrote more files, or more bytes, than a job may have."""


@dataclass(frozen=True)
class Collected:
    files: tuple[OutputFile, ...]
    skipped: tuple[str, ...]
    """Entries of `out/` that are no regular files, named for the job's log."""


async def stage(port: FilesPort, assignment: Assignment, work_dir: str) -> None:
    """Make the work dir and fetch every input to `in/<slot>`. Raises FilesUnavailable."""
    inputs = Path(work_dir, "in")
    inputs.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in assignment.files:
        if "/" in file.slot or file.slot in ("", ".", ".."):
            raise FilesUnavailable(f"{file.slot[:100]!r} cannot name an input file")
        await _fetch(port, file.file_id, str(inputs / file.slot), assignment)


async def collect(port: FilesPort, assignment: Assignment, work_dir: str) -> Collected:
    """Store the regular files of `out/`. Raises TooManyOutputs or FilesUnavailable."""
    folder = _open_folder(work_dir)
    if folder is None:
        return Collected((), ("out (it is no folder)",))
    try:
        names, skipped = await asyncio.to_thread(_survey, folder)
        stored = []
        for name in names:
            descriptor = _open_file(name, folder)
            if descriptor is None:
                skipped.append(shown(name))
                continue
            try:
                stored.append(await _store(port, shown(name), descriptor, assignment))
            finally:
                os.close(descriptor)
    finally:
        os.close(folder)
    return Collected(tuple(stored), tuple(skipped))


async def _fetch(port: FilesPort, file_id: str, path: str, assignment: Assignment) -> None:
    current_correlation.set(assignment.correlation_id)
    for attempt in range(1, TRIES + 1):
        try:
            await port.fetch(file_id, path, tenant=assignment.tenant, traceparent=assignment.traceparent)
            return
        except Exception as error:
            if attempt == TRIES:
                raise FilesUnavailable(f"input file {file_id} could not be fetched: {error}") from error
            await asyncio.sleep(PAUSE_S * attempt)


async def _store(port: FilesPort, name: str, descriptor: int, assignment: Assignment) -> OutputFile:
    """The open descriptor is handed over as a path: whatever lies at the file's name by now does not matter."""
    current_correlation.set(assignment.correlation_id)
    for attempt in range(1, TRIES + 1):
        try:
            return await port.store(
                f"/proc/self/fd/{descriptor}",
                name=name,
                tenant=assignment.tenant,
                job_id=assignment.job_id,
                attempt=assignment.attempt,
                fence=assignment.fence,
                traceparent=assignment.traceparent,
            )
        except Exception as error:
            if attempt == TRIES:
                raise FilesUnavailable(f"output file {name!r} could not be stored: {error}") from error
            await asyncio.sleep(PAUSE_S * attempt)
    raise AssertionError("unreachable")


def _open_folder(work_dir: str) -> int | None:
    """`out/`, reached without following a link; None when it is no folder."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        above = os.open(work_dir, flags)
        try:
            return os.open("out", flags, dir_fd=above)
        finally:
            os.close(above)
    except OSError:
        return None


def _survey(folder: int) -> tuple[list[str], list[str]]:
    """Names of the regular files, in order, and of what else lies there. Raises TooManyOutputs."""
    names: list[str] = []
    skipped: list[str] = []
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                names.append(entry.name)
                total += status.st_size
            elif len(skipped) < MAX_OUTPUTS:
                skipped.append(shown(entry.name))
            if len(names) > MAX_OUTPUTS:
                raise TooManyOutputs(
                    f"the tool wrote more than {MAX_OUTPUTS:,} output files; pack them into an archive"
                )
            if total > MAX_OUTPUT_BYTES:
                raise TooManyOutputs("the tool wrote more than 10 GiB of output files")
    return sorted(names), sorted(skipped)


def _open_file(name: str, folder: int) -> int | None:
    """A regular file, opened without following a link and without ever blocking; None for anything else, also for a
    hard link to a file of another user, which the tool itself may not be able to read."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.fstat(folder).st_uid:
        return descriptor
    os.close(descriptor)
    return None


def shown(name: str) -> str:
    """A file name as text: lone bytes and control characters, newlines too, become U+FFFD."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return bounded("".join("\ufffd" if c in "\n\t" else c for c in text), limit=255)


def note(n: int, message: str) -> Line:
    """A warning in the job's log, numbered `n`."""
    return Line(n, time.time(), "log", message, "warning", None)
