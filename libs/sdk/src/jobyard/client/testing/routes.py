"""The fake yard's part of the API."""

from __future__ import annotations

import base64
import json
import re

from jobyard.client.testing.handler import Cut, Handler, Problem
from jobyard.client.testing.yard import TERMINAL, TOOLS, Document, Upload


class Routes(Handler):
    """One method for each call; the table at the end says which."""

    # jobs

    def submit(self) -> None:
        try:
            body = json.loads(self.body())
        except ValueError:
            raise Problem(400, "malformed_json") from None
        if body.get("tool") not in TOOLS:
            raise Problem(422, "unknown_tool", f"there is no tool {body.get('tool')}", [{"pointer": "/tool"}])
        job = self.yard.submit(body, key=self.headers.get("Idempotency-Key"))
        self.answer(202, job, headers={"Location": f"/v1/jobs/{job['id']}"})

    def submit_many(self) -> None:
        rows: list[Document] = []
        for index, item in enumerate(json.loads(self.body())["items"]):
            key = item.pop("idempotency_key", None)
            if item.get("tool") in TOOLS:
                rows.append({"index": index, "job_id": self.yard.submit(item, key=key)["id"]})
            else:
                rows.append({"index": index, "problem": {"code": "unknown_tool", "status": 422, "errors": []}})
        good = sum("job_id" in row for row in rows)
        answer = {"id": "batch_1", "accepted": good, "rejected": len(rows) - good, "items": rows}
        self.answer(202, answer)

    def _found(self, job_id: str) -> Document:
        job = self.yard.jobs.get(job_id)
        if job is None:
            raise Problem(404, "not_found", f"no job {job_id}")
        return job

    def job(self, job_id: str) -> None:
        job, wanted = self._found(job_id), int(self.query.get("min_version", 0))
        fresh = self.yard.wait(lambda: job["version"] >= wanted, seconds=2.0)
        self.answer(200, dict(job), headers={} if fresh else {"X-Jobyard-Stale": "1"})

    def job_list(self) -> None:
        wanted = self.query.get("state")
        rows = [job for job in reversed(self.yard.jobs.values()) if wanted in (None, job["state"])]
        self._page(rows)

    def _page(self, rows: list[Document]) -> None:
        start, limit = int(self.query.get("cursor") or 0), int(self.query.get("limit") or 50)
        more = start + limit < len(rows)
        page = {
            "data": rows[start : start + limit],
            "has_more": more,
            "next_cursor": str(start + limit) if more else None,
        }
        self.answer(200, page)

    def act(self, job_id: str, verb: str) -> None:
        body = json.loads(self.body() or b"{}")
        job = self._found(job_id)
        ended = job["state"] in TERMINAL
        if verb == "reschedule":
            job["run_at"] = body.get("run_at")
        elif verb == "cancel":
            if ended:
                raise Problem(409, "job_finished", f"{job_id} has ended")
            self.yard.end(job_id, "cancelled", reason="user")
        else:
            if not ended:
                raise Problem(409, "job_not_finished", f"{job_id} has not ended")
            again = {"tool": job["tool"], "parameters": job["parameters"], "files": job["files"]} | body
            job = self.yard.submit(again, key=self.headers.get("Idempotency-Key"))
        self.answer(202, dict(job))

    def result(self, job_id: str) -> None:
        self._found(job_id)
        if job_id not in self.yard.results:
            raise Problem(409, "job_not_finished", f"{job_id} has not ended")
        self.answer(200, self.yard.results[job_id])

    def logs(self, job_id: str) -> None:
        self._found(job_id)
        self._page([data for name, data in self.yard.events[job_id] if name == "job.log"])

    def events(self, job_id: str) -> None:
        self._found(job_id)
        rows = self.yard.events[job_id]
        if "text/event-stream" not in self.headers.get("Accept", ""):
            self._page([data for name, data in rows if name == "job.state"])
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.close_connection = True
        at, left = int(self.headers.get("Last-Event-ID") or 0), self.fault.after if self.fault else -1
        while self.yard.wait(lambda seen=at: len(rows) > seen, seconds=30) and not self.yard.closing:  # type: ignore[misc]
            if left == 0:
                self.end_early()
                return
            name, data = rows[at]
            at, left = at + 1, left - 1
            self.wfile.write(f"id: {at}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode())
            if name == "stream.end":
                return

    def all_events(self) -> None:
        """States of all jobs; the fake knows the filter `tool` alone."""
        tool = self.query.get("tool")

        def rows() -> list[Document]:
            return [
                {"type": f"jobyard.job.{data['state']}.v1", "at": data["at"], "job": self.yard.jobs[job_id]}
                for job_id, told in list(self.yard.events.items())
                for name, data in list(told)
                if name == "job.state" and tool in (None, self.yard.jobs[job_id]["tool"])
            ]

        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.close_connection = True
        at, left = int(self.headers.get("Last-Event-ID") or 0), self.fault.after if self.fault else -1
        while self.yard.wait(lambda seen=at: len(rows()) > seen, seconds=30) and not self.yard.closing:  # type: ignore[misc]
            if left == 0:
                self.end_early()
                return
            data = rows()[at]
            at, left = at + 1, left - 1
            self.wfile.write(f"id: {at}\nevent: job.state\ndata: {json.dumps(data)}\n\n".encode())

    def explain(self, job_id: str) -> None:
        job = self._found(job_id)
        waiting = [{"kind": "worker", "detail": "no free slot", "until": None}]
        self.answer(200, {"state": job["state"], "reason": job["reason"], "since": None, "waiting_for": waiting})

    # files

    def create(self) -> None:
        pairs = (pair.partition(" ") for pair in self.headers.get("Upload-Metadata", "").split(","))
        meta = {name: base64.b64decode(value, validate=True).decode() for name, _, value in pairs}
        file_id = f"file_00{len(self.yard.files):026d}"
        upload = Upload(file_id, int(self.headers["Upload-Length"]), meta.get("filename", ""), meta.get("filetype", ""))
        self.yard.files[file_id] = upload
        where = f"http://{self.headers['Host']}/v1/files/{file_id}"
        self.answer(201, headers={"Location": where, "Tus-Resumable": "1.0.0"})

    def _upload(self, file_id: str) -> Upload:
        upload = self.yard.files.get(file_id)
        if upload is None:
            raise Problem(404, "not_found", f"no file {file_id}")
        if upload.deleted:
            raise Problem(410, "gone", f"{file_id} is gone")
        return upload

    def head(self, file_id: str) -> None:
        upload = self._upload(file_id)
        offsets = {"Upload-Offset": str(len(upload.content)), "Upload-Length": str(upload.size)}
        self.answer(200, headers=offsets | {"Cache-Control": "no-store"})

    def patch(self, file_id: str) -> None:
        upload, size = self._upload(file_id), int(self.headers["Content-Length"])
        if int(self.headers["Upload-Offset"]) != len(upload.content):
            self.body()
            raise Problem(409, "offset_mismatch", "another offset")
        if self.fault is not None and self.fault.kind == "cut":
            upload.content += self.rfile.read(min(size, self.fault.after))
            raise Cut
        upload.content += self.body()
        self.answer(204, headers={"Upload-Offset": str(len(upload.content))})

    def file(self, file_id: str) -> None:
        self.answer(200, self._upload(file_id).document())

    def file_list(self) -> None:
        self._page([each.document() for each in reversed(self.yard.files.values()) if not each.deleted])

    def content(self, file_id: str) -> None:
        content = bytes(self._upload(file_id).content)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        if asked and start >= len(content):
            raise Problem(416, "range_not_satisfiable", "beyond the end")
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.fault is not None and self.fault.kind == "cut":
            self.wfile.write(content[start : start + self.fault.after])
            self.end_early()
            return
        self.wfile.write(content[start:])

    def delete(self, file_id: str) -> None:
        self._upload(file_id).deleted = True
        self.answer(204)

    # the rest

    def tools(self) -> None:
        self._page(list(TOOLS.values()))

    def tool(self, name: str) -> None:
        if name not in TOOLS:
            raise Problem(404, "not_found", f"no tool {name}")
        self.answer(200, TOOLS[name])

    def system(self) -> None:
        self.answer(200, {"status": "ok", "services": [{"name": "gateway", "status": "ok"}]})

    def make(self, what: str) -> None:
        body = json.loads(self.body())
        made = {"tenants": {"id": "tnt_1"}, "api-keys": {"id": "key_1", "key": "jy_new_secret"}}[what]
        self.answer(201, made | {"name": body["name"]})

    def made(self, what: str) -> None:
        self._page([{"id": f"{what}_1", "name": "first"}])


Routes.routes = [
    ("POST", "/v1/jobs", Routes.submit),
    ("POST", "/v1/job-batches", Routes.submit_many),
    ("GET", "/v1/jobs", Routes.job_list),
    ("GET", "/v1/jobs/([^/]+)", Routes.job),
    ("POST", "/v1/jobs/([^/]+)/(cancel|retry|replay|reschedule)", Routes.act),
    ("GET", "/v1/jobs/([^/]+)/result", Routes.result),
    ("GET", "/v1/jobs/([^/]+)/logs", Routes.logs),
    ("GET", "/v1/jobs/([^/]+)/events", Routes.events),
    ("GET", "/v1/jobs/([^/]+)/explain", Routes.explain),
    ("GET", "/v1/events", Routes.all_events),
    ("POST", "/v1/files", Routes.create),
    ("GET", "/v1/files", Routes.file_list),
    ("HEAD", "/v1/files/([^/]+)", Routes.head),
    ("PATCH", "/v1/files/([^/]+)", Routes.patch),
    ("GET", "/v1/files/([^/]+)", Routes.file),
    ("GET", "/v1/files/([^/]+)/content", Routes.content),
    ("DELETE", "/v1/files/([^/]+)", Routes.delete),
    ("GET", "/v1/tools", Routes.tools),
    ("GET", "/v1/tools/([^/]+)", Routes.tool),
    ("GET", "/v1/system", Routes.system),
    ("POST", "/v1/(tenants|api-keys)", Routes.make),
    ("GET", "/v1/(tenants|api-keys)", Routes.made),
]
