"""`python3 deploy/docker/make_env.py > .env`: the variables of docker-compose.yml, with new secrets.

Keep the file: the databases of a deployment are opened with these passwords.
"""

from __future__ import annotations

import base64
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / ".env.example"
EMPTY = re.compile(r"^([A-Z_]+)=$", re.MULTILINE)


def cluster_id() -> str:
    """A Kafka cluster id: 16 random bytes in URL-safe base64. Kafka refuses one that begins with a dash."""
    while True:
        text = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text


MAKERS: dict[str, Callable[[], str]] = {"KAFKA_CLUSTER_ID": cluster_id}


def filled(example: str) -> str:
    """Every variable without a value gets one."""
    return EMPTY.sub(lambda found: f"{found[1]}={MAKERS.get(found[1], lambda: secrets.token_hex(24))()}", example)


if __name__ == "__main__":
    sys.stdout.write(filled(EXAMPLE.read_text()))
