"""Which errors are the same error: exception type and innermost frames, else the event's constant name.

The version in front lets the rule change without splitting errors that were already grouped.
"""

from __future__ import annotations

import hashlib
import re

_FRAME = re.compile(r'^\s*File "([^"]+)", line \d+, in (\S+)', re.MULTILINE)
_TYPE = re.compile(r"^([A-Za-z_][\w.]*)(?::|$)")
INNERMOST = 3


def fingerprint(*, service: str, logger: str, event: str, exception: str | None) -> str:
    """Equal for errors of one cause; line numbers and messages do not matter."""
    parts = [service, exception_type(exception) or "", *frames(exception)] if exception else [service, logger, event]
    digest = hashlib.blake2b("\x1f".join(parts).encode(errors="replace"), digest_size=8).hexdigest()
    return f"v1:{digest}"


def exception_type(exception: str | None) -> str | None:
    """The name at the start of a traceback's last line."""
    lines = [line for line in (exception or "").splitlines() if line and not line.startswith((" ", "\t"))]
    found = _TYPE.match(lines[-1]) if lines else None
    return found[1] if found else None


def frames(exception: str | None) -> list[str]:
    """File name and function of the innermost frames."""
    found = _FRAME.findall(exception or "")[-INNERMOST:]
    return [f"{path.rpartition('/')[2]}:{function}" for path, function in found]
