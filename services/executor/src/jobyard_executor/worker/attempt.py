"""One attempt in a slot, whatever its isolation: its clock, its output, and why it was asked to end."""

from __future__ import annotations

import time

from jobyard_executor.worker import failures
from jobyard_executor.worker.capture import Capture
from jobyard_executor.worker.failures import CANCEL_GRACE_S
from jobyard_executor.worker.family import Family
from jobyard_executor.worker.messages import Ended, Fault, Start
from jobyard_executor.worker.workdir import WorkDir


class Attempt:
    """`stop` is a StopReason; `soft` and `hard` say that a limit passed. Times are of the monotonic clock."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self.capture = Capture()
        self.folder = WorkDir(start.work_dir, staged=start.staged)
        self.family = Family(start)
        self.stop: str | None = None
        self.soft = False
        self.hard = False
        self.killed = False
        self.began_at = time.time()
        self.began = time.monotonic()
        self.hard_at = self.began + start.timeout_s
        self.soft_at = self.began + start.soft_timeout_s if start.soft_timeout_s is not None else None
        self.kill_at: float | None = None

    def due(self) -> float:
        """When this attempt must be looked at next."""
        times = [self.hard_at]
        if self.soft_at is not None and not self.soft and self.stop is None:
            times.append(self.soft_at)
        if self.kill_at is not None:
            times.append(self.kill_at)
        return min(times)

    def asked(self, reason: str) -> bool:
        """Note a stop request; whether the tool should hear of it (else it is to be killed)."""
        if self.stop is None or reason == failures.STOP_REVOKED:
            self.stop = reason
        if reason == failures.STOP_REVOKED:
            return False
        if self.kill_at is None:
            self.kill_at = time.monotonic() + CANCEL_GRACE_S
        return True

    def ended(
        self,
        verdict: str,
        *,
        value: bytes = b"null",
        fault: Fault | None = None,
        return_code: int | None = None,
        outputs: bool = False,
    ) -> Ended:
        """The end as the control process hears it; limits and stop requests outrank what the tool said."""
        if verdict == failures.SUCCEEDED and self.family.fault is not None:
            verdict, fault = failures.ERROR, self.family.fault
        if verdict != failures.SUCCEEDED:
            if self.hard:
                verdict, fault = failures.TIMEOUT, failures.timed_out(self.start.timeout_s)
            elif self.stop is not None:
                verdict, fault = failures.stopped(self.stop)
            elif self.killed and self.soft:
                verdict, fault = failures.TIMEOUT, failures.timed_out(self.start.soft_timeout_s, soft=True)
        self.capture.end()
        stdout, stderr, truncated = self.capture.copies()
        return Ended(
            handle=self.start.handle,
            verdict=verdict,
            started=self.began_at,
            run_s=time.monotonic() - self.began,
            value=value if verdict == failures.SUCCEEDED else b"null",
            fault=fault if verdict != failures.SUCCEEDED else None,
            return_code=return_code,
            stdout=stdout,
            stderr=stderr,
            truncated=truncated,
            last_n=self.capture.n,
            outputs=outputs and verdict == failures.SUCCEEDED,
            folder=self.folder.exists,
            children=self.family.children() if verdict == failures.SUCCEEDED else [],
        )
