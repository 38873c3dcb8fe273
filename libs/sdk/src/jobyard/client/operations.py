"""Every operation of the client as a flow that ends in a typed model; the two clients only drive them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobyard.client import batches, downloading, following, jobs, uploading
from jobyard.client.answers import Document
from jobyard.client.claim_check import claim_check
from jobyard.client.config import Server, checked, find, state_path
from jobyard.client.effects import Flow, Request
from jobyard.client.models import File, JobData, JobResult, LogLine, Tool, convert
from jobyard.client.requests import mint_key, post, query, segment
from jobyard.client.retrying import Policy, call, call_json


@dataclass(frozen=True)
class Settings:
    server: Server
    policy: Policy
    state: Path | None


def settings(*, url: str | None, api_key: str | None, policy: Policy, resume: bool) -> Settings:
    """Explicit arguments, else what the environment and the files say. Raises ConfigurationError."""
    env = dict(os.environ)
    env |= {name: value for name, value in (("JOBYARD_URL", url), ("JOBYARD_API_KEY", api_key)) if value}
    if url and not api_key and os.environ.get("JOBYARD_URL") != url:
        env.pop("JOBYARD_API_KEY", None)  # that key belongs to the environment's server
    server = checked(find(env=env, cwd=Path.cwd()))
    return Settings(server, policy, state_path(env) if resume else None)


class Operations:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._policy = settings.policy

    @property
    def policy(self) -> Policy:
        return self._policy

    def request(
        self, method: str, path: str, *, params: Mapping[str, object], body: object | None, safe: bool | None
    ) -> Flow[Document]:
        if method == "POST":
            request = post(path, body, idempotency_key=mint_key() if safe else None)
        else:
            request = Request(method, path, query(params))
        return call_json(request, self._policy, safe=safe)

    def submit(
        self,
        tool: str,
        *,
        parameters: Mapping[str, Any] | None,
        files: Mapping[str, str] | None,
        idempotency_key: str | None,
        options: Mapping[str, Any],
    ) -> Flow[Document]:
        body = jobs.submit_body(tool, parameters=parameters, files=files, options=options)
        body = yield from claim_check(body, self._upload_parameters)
        return (yield from jobs.submit(body, self._policy, idempotency_key=idempotency_key))

    def submit_many(self, items: Iterable[Mapping[str, Any]]) -> Flow[list[batches.BatchItem]]:
        return batches.submit_many(items, self._policy)

    def _upload_parameters(self, path: Path) -> Flow[File]:
        document = yield from uploading.upload(
            path,
            self._policy,
            server=self._settings.server.url,
            state=None,
            name="parameters.json",
            content_type="application/json",
        )
        return convert(document, File)

    def job(self, job_id: str, *, min_version: int | None = None) -> Flow[Document]:
        return jobs.get(job_id, self._policy, min_version=min_version)

    def job_list(self, filters: Mapping[str, object], *, max_items: int | None) -> Flow[None]:
        return jobs.pages("/v1/jobs", self._policy, params=filters, max_items=max_items)

    def rows(self, path: str, params: Mapping[str, object]) -> Flow[None]:
        """Every row of any list, over all pages."""
        return jobs.pages(path, self._policy, params=params)

    def result(self, job_id: str) -> Flow[JobResult]:
        return convert((yield from jobs.read(job_id, "result", self._policy)), JobResult)

    def explain(self, job_id: str) -> Flow[Document]:
        return jobs.read(job_id, "explain", self._policy)

    def logs(self, job_id: str) -> Flow[None]:
        path = f"/v1/jobs/{segment(job_id, what='a job id')}/logs"
        return jobs.pages(path, self._policy, params={"limit": 200})

    def act(self, job_id: str, verb: str, body: Mapping[str, Any] | None = None) -> Flow[Document]:
        return jobs.act(job_id, verb, self._policy, body=body)

    def wait(self, job: Document, *, timeout_s: float | None) -> Flow[Document]:
        return jobs.wait(job, self._policy, timeout_s=timeout_s)

    def follow(self, job_id: str, *, last_event_id: str | None) -> Flow[None]:
        return following.follow(job_id, self._policy, last_event_id=last_event_id)

    def follow_all(self, filters: Mapping[str, object], *, last_event_id: str | None) -> Flow[None]:
        return following.follow_all(filters, self._policy, last_event_id=last_event_id)

    def upload(
        self, path: Path, *, name: str | None, content_type: str | None, progress: uploading.Progress | None
    ) -> Flow[File]:
        document = yield from uploading.upload(
            path,
            self._policy,
            server=self._settings.server.url,
            state=self._settings.state,
            name=name,
            content_type=content_type,
            progress=progress,
        )
        return convert(document, File)

    def download(self, file_id: str, path: Path, *, progress: uploading.Progress | None) -> Flow[File]:
        return convert((yield from downloading.download(file_id, path, self._policy, progress=progress)), File)

    def file(self, file_id: str) -> Flow[File]:
        request = Request("GET", f"/v1/files/{segment(file_id, what='a file id')}")
        return convert((yield from call_json(request, self._policy)), File)

    def file_list(self, filters: Mapping[str, object], *, max_items: int | None) -> Flow[None]:
        return jobs.pages("/v1/files", self._policy, params=filters, max_items=max_items)

    def delete_file(self, file_id: str) -> Flow[None]:
        request = Request("DELETE", f"/v1/files/{segment(file_id, what='a file id')}", headers=uploading.TUS)
        yield from call(request, self._policy)

    def tool(self, name: str) -> Flow[Tool]:
        request = Request("GET", f"/v1/tools/{segment(name, what='a tool name')}")
        return tool_of((yield from call_json(request, self._policy)))

    def tool_list(self, *, max_items: int | None) -> Flow[None]:
        return jobs.pages("/v1/tools", self._policy, params={}, max_items=max_items)


def tool_of(document: Document) -> Tool:
    return convert(document | {"document": document}, Tool)


def line_of(document: Document) -> LogLine:
    return convert(document, LogLine)


def file_of(document: Document) -> File:
    return convert(document, File)


def data_of(document: Document) -> JobData:
    return convert(document, JobData)
