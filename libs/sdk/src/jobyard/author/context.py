"""What a running tool can ask of its worker."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal, Protocol

from jobyard.author.errors import ToolError, stop_for

Level = Literal["debug", "info", "warning", "error"]
NAME_BYTES = 255


class Backend(Protocol):
    """The worker's side of a context. No method blocks for long; all but the paths may be called from any thread."""

    def emit(self, stream: str, message: str, *, level: str | None, fields: Mapping[str, Any]) -> None:
        """Report one line of the stream `log`."""

    def progress(self, done: float, total: float | None, note: str | None) -> None: ...

    def input_path(self, slot: str) -> Path:
        """Where the input file of a slot (or with a file id) lies. Raises KeyError when the job has none."""

    def output_path(self, name: str) -> Path:
        """Where to write the output file `name`; its folder exists. The name has been checked."""

    def submit(self, body: bytes) -> str:
        """Hold a child job, JSON text of a submit body, until the attempt ends; its id. Raises ToolError."""

    def stop_requested(self) -> str | None:
        """`soft_limit` or `cancel` as soon as the attempt is asked to stop; other reasons end it without asking."""


class Log:
    """Entries of the job's log, with a level and fields: `ctx.log.info("parsed", rows=5)` or `ctx.log("parsed")`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __call__(self, message: str, *, level: Level = "info", **fields: Any) -> None:
        self._backend.emit("log", message, level=level, fields=fields)

    def debug(self, message: str, **fields: Any) -> None:
        self._backend.emit("log", message, level="debug", fields=fields)

    def info(self, message: str, **fields: Any) -> None:
        self._backend.emit("log", message, level="info", fields=fields)

    def warning(self, message: str, **fields: Any) -> None:
        self._backend.emit("log", message, level="warning", fields=fields)

    def error(self, message: str, **fields: Any) -> None:
        self._backend.emit("log", message, level="error", fields=fields)


class Context:
    """One attempt of one job, as its tool sees it.

    `attempt` counts from 1. `fence` grows with every attempt: hand it to systems of your own that must ignore a late
    writer. `deadline` is the hard limit as a moment in UTC, or None.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        job_id: str,
        attempt: int,
        fence: int,
        deadline: datetime | None,
        work_dir: Path,
    ) -> None:
        self._backend = backend
        self.job_id = job_id
        self.attempt = attempt
        self.fence = fence
        self.deadline = deadline
        self._work_dir = work_dir
        self.log = Log(backend)

    @property
    def work_dir(self) -> Path:
        """A private folder for scratch files, removed after the attempt. It is made when a tool first asks for it."""
        self._work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._work_dir

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Say how far the work is; `total` None means that nobody knows. Cheap: call it as often as you like."""
        self._backend.progress(done, total, note)

    def path_of(self, slot: str) -> Path:
        """The path of an input file, by slot name or file id. Do not write to it.

        Raises ToolError `file_missing` when the job has no such file.
        """
        try:
            return self._backend.input_path(slot)
        except KeyError:
            raise ToolError(f"The job has no file {slot!r}.", code="file_missing", retryable=False) from None

    def open_file(self, slot: str) -> BufferedReader:
        """An input file, open for reading. Use it in a `with` block. Raises as `path_of`."""
        return self.path_of(slot).open("rb")

    def has_file(self, slot: str) -> bool:
        """Whether an optional slot was filled."""
        try:
            self._backend.input_path(slot)
        except KeyError:
            return False
        return True

    def save_file(self, name: str) -> Path:
        """A path to write an output file to. It becomes a file of the job when, and only when, the attempt succeeds.

        `name` is a plain name of at most 255 bytes without slashes or control characters, else ToolError
        `bad_file_name`.
        """
        complaint = name_complaint(name)
        if complaint:
            raise ToolError(
                f"{name[:300]!r} cannot name an output file: {complaint}.", code="bad_file_name", retryable=False
            )
        return self._backend.output_path(name)

    @property
    def stop_reason(self) -> str | None:
        """`soft_limit` or `cancel` once the attempt was asked to stop."""
        return self._backend.stop_requested()

    @property
    def cancelled(self) -> bool:
        """Whether the attempt was asked to stop, by a cancel or at the soft limit. For loops that never wait."""
        return self._backend.stop_requested() is not None

    def check(self) -> None:
        """Raise `Cancelled` or `SoftLimitReached` if the attempt was asked to stop."""
        stop = stop_for(self._backend.stop_requested())
        if stop is not None:
            raise stop

    def submit(self, child: Mapping[str, Any], *, key: str | None = None) -> str:
        """Ask for a child job and return the id that it will have.

        `child` is a submit body: `tool`, and what is wanted of `parameters`, `files`, `queue`, `priority`, `delay_s`,
        `ttl_s`, `timeout_s`, `soft_timeout_s`, `retry`, `fairness_key`, `concurrency_key`, `tags`, `metadata`. Children
        are born when, and only when, the attempt succeeds. Ids come from the job and `key` (else from the order of the
        calls), so an attempt that is repeated asks for the same ones. There is no waiting for a child: it would hold a
        slot that the child may need.

        Raises ToolError `child_invalid`, or `too_many_children` above 1,000 an attempt.
        """
        whole = dict(child) if key is None else {**child, "key": key}
        try:
            body = json.dumps(whole, allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ToolError(f"A child is plain JSON: {error}", code="child_invalid", retryable=False) from None
        return self._backend.submit(body)


def name_complaint(name: str) -> str | None:
    """Why `name` cannot name an output file, or None."""
    if not name or name in (".", ".."):
        return "a file needs a name"
    if "/" in name or "\\" in name:
        return "it holds a slash"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "it holds a control character"
    if len(name.encode()) > NAME_BYTES:
        return f"it has more than {NAME_BYTES} bytes"
    return None
