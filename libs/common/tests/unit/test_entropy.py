"""Random bytes that nobody shares."""

from __future__ import annotations

import os

from jobyard_common.contracts.entropy import STOCK, random_bytes, random_hex


def test_bytes_do_not_come_twice_over_many_stocks() -> None:
    taken = [random_bytes(10) for _ in range(STOCK)]
    assert len(set(taken)) == len(taken)
    assert {len(one) for one in taken} == {10}
    assert len(random_hex(16)) == 32


def test_a_forked_child_has_bytes_of_its_own() -> None:
    random_bytes(1)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, random_bytes(16))
        os._exit(0)
    own = random_bytes(16)
    os.waitpid(child, 0)
    assert os.read(read, 16) != own
    os.close(read)
    os.close(write)
