"""What a container runs: the service of this image, with the arguments given; it becomes process 1 itself.

`topics`, `roles` and `migrate` prepare a deployment and end; nothing serves.
"""

from __future__ import annotations

import os
import sys

TOOLS = {"topics": "jobyard_common.messaging.topics", "roles": "jobyard_common.db.roles"}


def command(service: str, arguments: list[str]) -> list[str]:
    """The program that takes this one's place."""
    if arguments and arguments[0] in TOOLS:
        return [sys.executable, "-m", TOOLS[arguments[0]], *arguments[1:]]
    return [sys.executable, "-m", f"jobyard_{service}", *arguments]


if __name__ == "__main__":
    argv = command(os.environ["JOBYARD_SERVICE"], sys.argv[1:])
    os.execv(argv[0], argv)  # noqa: S606 - no shell is the point
