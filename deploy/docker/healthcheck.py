"""Exit code 0 while the service in this container is ready; one line says why it is not."""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_S = 3.0


def ready(port: int) -> str | None:
    """None when it is ready, else the reason."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return None if answer.status == 200 else f"{answer.status} {body}"


if __name__ == "__main__":
    reason = ready(int(os.environ.get("JOBYARD_HTTP_PORT", "8080")))
    if reason is not None:
        print(reason)
        sys.exit(1)
