"""The filter is run by a small interpreter, so that both machines are checked on either."""

from __future__ import annotations

import errno

import pytest
from jobyard_executor.sandbox import seccomp
from jobyard_executor.sandbox.kernel import AUDIT_ARCH, Machine, known, number
from jobyard_executor.sandbox.seccomp import ALLOW, KILL, program, refuse

MACHINES = list(Machine)
CLONE_NEWUSER = 0x10000000


def answer(kind: Machine, call: str | int, *arguments: int, arch: int | None = None, network: bool = False) -> int:
    value = number(call, kind) if isinstance(call, str) else call
    assert value is not None
    loads = {0: value, 4: AUDIT_ARCH[kind] if arch is None else arch}
    for position in range(6):
        argument = arguments[position] if position < len(arguments) else 0
        loads[16 + 8 * position] = argument & 0xFFFFFFFF
    code = program(kind, network=network)
    accumulator = at = 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        if operation == 0x06:
            return operand
        if operation == 0x20:
            accumulator = loads[operand]
            continue
        holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}
        at += if_true if holds[operation] else if_false


@pytest.mark.parametrize("kind", MACHINES)
@pytest.mark.parametrize("name", seccomp.REFUSED)
def test_refused_calls_are_refused(kind: Machine, name: str) -> None:
    if number(name, kind) is None:
        assert kind is Machine.AARCH64, name
        return
    assert answer(kind, name) == refuse(errno.EPERM)


@pytest.mark.parametrize("kind", MACHINES)
def test_calls_whose_arguments_decide(kind: Machine) -> None:
    assert answer(kind, "clone", 0x11) == ALLOW
    assert answer(kind, "clone", 0x11 | CLONE_NEWUSER) == refuse(errno.EPERM)
    assert answer(kind, "clone3") == refuse(errno.ENOSYS)
    assert answer(kind, "prlimit64", 0) == ALLOW
    assert answer(kind, "prlimit64", 4711) == refuse(errno.EPERM)
    assert answer(kind, "ioctl", 1, 0x5412) == refuse(errno.EPERM)
    assert answer(kind, "ioctl", 1, 0x5401) == ALLOW


@pytest.mark.parametrize("kind", MACHINES)
@pytest.mark.parametrize("family", [1, 2, 10, 16, 40])
def test_no_sockets_without_the_network_grant(kind: Machine, family: int) -> None:
    assert answer(kind, "socket", family) == refuse(errno.EAFNOSUPPORT)
    granted = ALLOW if family in (2, 10) else refuse(errno.EAFNOSUPPORT)
    assert answer(kind, "socket", family, network=True) == granted


@pytest.mark.parametrize("kind", MACHINES)
def test_another_machine_s_calls_kill(kind: Machine) -> None:
    assert answer(kind, 1, arch=0x40000003) == KILL


def test_x32_calls_kill() -> None:
    assert answer(Machine.X86_64, 0x40000000 | 1) == KILL


@pytest.mark.parametrize("kind", MACHINES)
def test_what_every_program_needs_is_allowed(kind: Machine) -> None:
    refused = {number(name, kind) for name in known()}
    for value in range(470):
        if value not in refused:
            assert answer(kind, value) == ALLOW, value


def test_every_refused_call_has_a_number_somewhere() -> None:
    assert [name for name in seccomp.REFUSED if all(number(name, kind) is None for kind in MACHINES)] == []
