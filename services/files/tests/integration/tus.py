"""tus 1.0.0 from the client's side, polite and rude."""

from __future__ import annotations

import random
import socket
import time
from urllib.parse import urlsplit

TUS = {"Tus-Resumable": "1.0.0"}


OCTETS = TUS | {"Content-Type": "application/offset+octet-stream"}


MIB = 2**20


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def create(client, length, **headers):
    made = client.post("/v1/files", headers=TUS | {"Upload-Length": str(length)} | headers)
    assert made.status_code == 201, made.text
    return made.headers["Location"]


def offset_of(client, url):
    head = client.head(url, headers=TUS)
    assert head.status_code == 200
    return int(head.headers["Upload-Offset"])


def send(client, url, offset, content, **headers):
    return client.patch(url, content=content, headers=OCTETS | {"Upload-Offset": str(offset)} | headers)


def hashed(client, url, *, timeout_s=20.0):
    """The file once its hash is known, which after a refused request takes one reading of the bytes."""
    deadline = time.monotonic() + timeout_s
    while (meta := client.get(url).json())["sha256"] is None:
        assert time.monotonic() < deadline, meta
        time.sleep(0.02)
    return meta


class RawPatch:
    """A PATCH on a bare socket, so that the test decides when bytes go and when the line dies."""

    def __init__(self, files, url, *, offset, length):
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=30)
        with files.client() as client:
            own = "".join(f"{name}: {value}\r\n" for name, value in client.headers.items() if name != "host")
        body = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        head = (
            f"PATCH {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{own}Tus-Resumable: 1.0.0\r\n"
            f"Upload-Offset: {offset}\r\nContent-Type: application/offset+octet-stream\r\n{body}\r\n\r\n"
        )
        self.socket.sendall(head.encode())

    def send(self, content):
        self.socket.sendall(content)

    def answer(self):
        return self.socket.recv(65536).decode()

    def close(self):
        self.socket.close()
