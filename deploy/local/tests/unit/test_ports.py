"""Ports: kept where free, never one that an outgoing connection could take, a taken one names its owner."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from jobyard_local.errors import PortTaken, StackError
from jobyard_local.running import wanted_port
from jobyard_local.servers.ports import OWN_RANGE, free_port, owner_of, require_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield int(server.getsockname()[1])


def test_a_free_port_is_kept_and_a_taken_one_is_not(taken: int) -> None:
    kept = free_port()
    assert kept in OWN_RANGE
    assert free_port(kept) == kept
    assert free_port(kept, but=[kept]) != kept
    assert free_port(taken) in OWN_RANGE


def test_a_taken_port_names_its_owner_and_the_way_out(taken: int) -> None:
    assert owner_of(taken).startswith(f"process {os.getpid()} (")
    with pytest.raises(PortTaken, match=rf"port {taken} is taken by process {os.getpid()}.*JOBYARD_PORT=0"):
        require_free(taken, setting="JOBYARD_PORT")


@pytest.mark.parametrize("given", ["abc", "-1", "65536", "80.5", "٣"])
def test_what_is_no_port_is_refused_in_a_sentence(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBYARD_PORT", given)
    with pytest.raises(StackError, match="is not a port"):
        wanted_port()


@pytest.mark.parametrize(("given", "port"), [("", 8080), ("0", 0), ("9000", 9000)])
def test_wanted_port(given: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBYARD_PORT", given)
    assert wanted_port() == port
