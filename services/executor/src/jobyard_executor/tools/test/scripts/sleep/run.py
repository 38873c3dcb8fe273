"""test.sleep.command"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


class Term(BaseException):
    pass


def show_marker(marker: str) -> None:
    """Run again with the marker as an argument. SIGTERM waits meanwhile: its handler is not there yet."""
    if marker and marker not in sys.argv:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        os.execv(sys.executable, [sys.executable, "-I", "-S", __file__, marker])  # noqa: S606


def raise_term(*_: object) -> None:
    raise Term


def listen(parameters: dict[str, object]) -> None:
    if parameters.get("ignore_sigterm") or parameters.get("on_soft_limit") == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif parameters.get("on_soft_limit") == "finish":
        signal.signal(signal.SIGTERM, raise_term)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def sleep(seconds: float, steps: int) -> None:
    began = time.monotonic()
    for step in range(1, max(steps, 1) + 1):
        time.sleep(max(0.0, began + seconds * step / max(steps, 1) - time.monotonic()))
        if steps:
            report = {"progress": {"done": step, "total": steps, "note": f"step {step}"}}
            os.write(int(os.environ["JOBYARD_CHANNEL_FD"]), json.dumps(report).encode() + b"\n")


def main() -> None:
    parameters = json.loads(Path("parameters.json").read_bytes())
    show_marker(parameters.get("marker", ""))
    seconds = parameters.get("seconds", 1)
    value: dict[str, object] = {"slept": seconds}
    try:
        listen(parameters)
        sleep(float(seconds), int(parameters.get("steps", 0)))
    except Term:
        value = {"interrupted": True}
    Path("result.json").write_text(json.dumps(value))


if __name__ == "__main__":
    main()
