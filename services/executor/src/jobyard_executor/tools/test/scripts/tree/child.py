"""A child of test.tree: arguments are marker, seconds, the descriptor to report on, and its bad manners."""

from __future__ import annotations

import os
import signal
import sys
import time


def main() -> None:
    _, _, seconds, tell, traits = sys.argv
    if "double_fork" in traits and os.fork():
        os._exit(0)
    if "setsid" in traits:
        os.setsid()
    if "ignore_sigterm" in traits:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(int(tell), b".")
    os.close(int(tell))
    time.sleep(float(seconds))


main()
