"""What the fake yard holds: jobs with their events, files with their bytes, and the faults to come."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Document = dict[str, Any]
TERMINAL = ("succeeded", "failed", "cancelled", "expired")
TOOLS: dict[str, Document] = {
    name: {
        "name": name,
        "version": "1",
        "title": name,
        "description": "",
        "parameters_schema": {"type": "object"},
        "queue": "default",
        "isolation": "async",
        "slots": slots,
        "examples": [],
        "workers": 1,
    }
    for name, slots in {
        "test.echo": {},
        "test.fail": {},
        "test.sleep": {},
        "test.digest": {"data": {"required": True}},
        "test.join": {"left": {"required": True}, "right": {"required": True}},
    }.items()
}


@dataclass
class Fault:
    """Happens to the next `times` requests that match. `kind`:

    `status` answers with `status` and `headers` instead; `drop` closes the connection unread; `lose` does the work but
    closes the connection instead of answering; `slow` answers `after` seconds late; `cut` takes or gives `after` bytes
    (or events) of a body, then closes.
    """

    method: str
    path: str
    kind: str
    times: int = 1
    status: int = 503
    code: str = "unavailable"
    after: int = 0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Upload:
    id: str
    size: int
    name: str
    kind: str
    content: bytearray = field(default_factory=bytearray)
    deleted: bool = False

    def document(self) -> Document:
        whole = len(self.content) == self.size
        digest = hashlib.sha256(self.content).hexdigest() if whole else None
        return {"id": self.id, "name": self.name, "size": self.size, "sha256": digest, "content_type": self.kind} | {
            "state": "ready" if whole else "uploading",
            "created_at": now(),
        }


class Yard:
    """All state, behind one lock; `changed` wakes those who wait for a job."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.jobs: dict[str, Document] = {}
        self.results: dict[str, Document] = {}
        self.events: dict[str, list[tuple[str, Document]]] = {}
        self.keys: dict[str, str] = {}
        self.files: dict[str, Upload] = {}
        self.faults: list[Fault] = []
        self.canned: dict[str, Any] = {}
        """Path → the document that a GET of it answers, whatever it is."""
        self.submitted: list[Document] = []
        """The documents of all submits that made a job."""
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.autoend: str | None = None
        """The state in which a job that would run on ends at once."""
        self.closing = False

    def fault(self, method: str, path: str) -> Fault | None:
        with self.changed:
            for each in self.faults:
                if each.times > 0 and each.method == method and re.fullmatch(each.path, path):
                    each.times -= 1
                    return each
        return None

    def submit(self, body: Document, *, key: str | None) -> Document:
        with self.changed:
            if key is not None and key in self.keys:
                return self.jobs[self.keys[key]]
            job = self._new(body)
            self.submitted.append(body)
            if key is not None:
                self.keys[key] = job["id"]
        self._run(job["id"], body)
        return dict(job)

    def _new(self, body: Document) -> Document:
        job_id = f"job_00{len(self.jobs):026d}"
        job = {
            "id": job_id,
            "tool": body["tool"],
            "tool_version": "1",
            "state": "accepted",
            "reason": None,
            "dead": False,
            "version": 0,
            "queue": body.get("queue", "default"),
            "priority": body.get("priority", 5),
            "parameters": body.get("parameters", {}),
            "files": body.get("files", {}),
            "attempt": 0,
            "max_attempts": 3,
            "progress": None,
            "error": None,
            "tags": body.get("tags", []),
            "metadata": body.get("metadata", {}),
            "created_at": now(),
            "links": {},
        }
        self.jobs[job_id], self.events[job_id] = job, []
        return job

    def _run(self, job_id: str, body: Document) -> None:
        self.move(job_id, "queued")
        self.move(job_id, "running", attempt=1)
        parameters = body.get("parameters", {})
        match body["tool"]:
            case "test.echo":
                self.log(job_id, "hello")
                self.end(job_id, "succeeded", value=parameters.get("value"))
            case "test.fail":
                error = {"code": "test_failure", "message": parameters.get("message", "failed on purpose")}
                self.end(job_id, "failed", error=error, reason="error")
            case "test.digest":
                upload = self.files[next(iter(body["files"].values()))]
                digest = hashlib.sha256(upload.content).hexdigest()
                copy = {"file_id": upload.id, "name": parameters.get("copy_as", "copy.bin"), "size": upload.size}
                value = {"size": upload.size, "sha256": digest}
                self.end(job_id, "succeeded", value=value, files=[copy | {"sha256": digest}])
            case _ if self.autoend is not None:
                self.end(job_id, self.autoend)
            case _:
                return  # runs until the test ends it

    def move(self, job_id: str, state: str, **changes: Any) -> None:
        """The next version of a job."""
        with self.changed:
            job = self.jobs[job_id]
            job |= {"state": state, "version": job["version"] + 1, **changes}
            row = {"seq": job["version"], "at": now(), "type": f"jobyard.job.{state}.v1", "state": state} | {
                "reason": job["reason"],
                "attempt": job["attempt"],
                "actor": {"kind": "system", "id": "fake"},
                "data": {},
            }
            self.events[job_id].append(("job.state", row))
            self.changed.notify_all()

    def progress(self, job_id: str, done: int, total: int) -> None:
        self._tell(job_id, "job.progress", {"done": done, "total": total, "note": f"step {done}", "at": now()})

    def log(self, job_id: str, message: str, *, stream: str = "stdout") -> None:
        row = {"seq": len(self.events[job_id]), "at": now(), "attempt": 1, "stream": stream, "message": message}
        self._tell(job_id, "job.log", row | {"level": None, "fields": None})

    def end(
        self,
        job_id: str,
        state: str,
        *,
        value: Any = None,
        error: Document | None = None,
        reason: str | None = None,
        files: list[Document] | None = None,
    ) -> None:
        """Finish a job, with its result."""
        with self.changed:
            result = {"job_id": job_id, "attempt": 1, "state": state, "value": value, "return_code": None}
            result |= {"stdout": "", "stderr": "", "truncated": False, "files": files or [], "error": error}
            self.results[job_id] = result | {"run_ms": 12}
            self.move(job_id, state, error=error, reason=reason, run_ms=12, finished_at=now())
            self._tell(job_id, "job.result", self.results[job_id])
            self._tell(job_id, "stream.end", {"state": state})

    def _tell(self, job_id: str, name: str, data: Document) -> None:
        with self.changed:
            self.events[job_id].append((name, data))
            self.changed.notify_all()

    def wait(self, ready: Callable[[], bool], *, seconds: float) -> bool:
        """Until `ready`, at most so long, or until the fake goes down."""
        with self.changed:
            return self.changed.wait_for(lambda: self.closing or ready(), seconds)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
