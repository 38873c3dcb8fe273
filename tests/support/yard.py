"""A running stack as one tenant sees it, in the words of a timeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from tests.support.stack import OwnStack

T = TypeVar("T")
TERMINAL = ("succeeded", "failed", "cancelled", "expired")


def until(probe: Callable[[], T | None], *, what: str, timeout_s: float = 30.0, every_s: float = 0.05) -> T:
    """Poll until `probe` answers something other than None or False."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if answer is not None and answer is not False:
            return answer
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(every_s)


class Yard:
    def __init__(self, stack: OwnStack) -> None:
        self.stack = stack
        self.http = httpx.Client(
            base_url=stack.url, headers={"Authorization": f"Bearer {stack.key}"}, timeout=30, trust_env=False
        )

    def close(self) -> None:
        self.http.close()

    def submit(self, tool: str, parameters: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        headers = options.pop("headers", {})
        body = {"tool": tool, "parameters": parameters or {}, **options}
        answer = self.http.post("/v1/jobs", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def job(self, job_id: str) -> dict[str, Any]:
        return self.get(f"/v1/jobs/{job_id}")

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text}"
        return dict(answer.json())

    def until_state(self, job_id: str, *states: str, timeout_s: float = 30.0) -> dict[str, Any]:
        wanted = states or TERMINAL

        shown: dict[str, Any] = {}

        def probe() -> dict[str, Any] | None:
            shown.update(self.job(job_id))
            assert shown["state"] in wanted or shown["state"] not in TERMINAL, shown
            return shown if shown["state"] in wanted else None

        try:
            return until(probe, what=f"{job_id} in {wanted}", timeout_s=timeout_s)
        except AssertionError as error:
            why = self.http.get(f"/v1/jobs/{job_id}/explain").text
            raise AssertionError(f"{error}; it is {shown}; explain: {why}") from None

    def run(self, tool: str, parameters: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """Submit, wait for success, and return the result."""
        done = self.until_state(self.submit(tool, parameters, **options)["id"], "succeeded")
        return self.get(f"/v1/jobs/{done['id']}/result")

    def upload(self, content: bytes, *, name: str) -> str:
        import base64

        tus = {"Tus-Resumable": "1.0.0"}
        meta = f"filename {base64.b64encode(name.encode()).decode()}"
        made = self.http.post("/v1/files", headers=tus | {"Upload-Length": str(len(content)), "Upload-Metadata": meta})
        assert made.status_code == 201, made.text
        url = made.headers["Location"]
        octets = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        assert self.http.patch(url, content=content, headers=tus | octets).status_code == 204
        return str(url.rsplit("/", 1)[-1])
