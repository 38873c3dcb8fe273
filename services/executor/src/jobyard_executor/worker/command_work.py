"""`command` tools: argv in a sandbox, in a work dir of its own, talking by files and descriptor 3."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobyard.author.errors import BadParameters

from jobyard_executor.sandbox import bubblewrap, jail, users
from jobyard_executor.sandbox.cgroups import Group, NoGroups, name_of
from jobyard_executor.sandbox.jail import TASKS_PER_PROCESS, CannotConfine, Descriptors, Limits, Policy
from jobyard_executor.sandbox.users import User
from jobyard_executor.tools.argv import SEARCH_PATH
from jobyard_executor.tools.command import CommandTool
from jobyard_executor.tools.schema import check_parameters
from jobyard_executor.worker import failures, trees
from jobyard_executor.worker.attempt import Attempt
from jobyard_executor.worker.channel import Channel
from jobyard_executor.worker.messages import Ended, Fault, Start
from jobyard_executor.worker.process_work import cause_of_death, oom_kills
from jobyard_executor.worker.result_file import ResultUnreadable, read_result
from jobyard_executor.worker.slot import READ_BYTES, CannotStart, Slot, drain
from jobyard_executor.worker.tool_users import ToolUsers, end_all, hand_over

STDERR_TAIL = 2 * 1024

Commands = Mapping[tuple[str, str], CommandTool]


class CommandWork:
    def __init__(self, slot: Slot, commands: Commands) -> None:
        self._slot = slot
        self._commands = commands
        self._pid = 0
        self._init: int | None = None
        self._pidfd = -1
        self._pipes: dict[str, int] = {}
        self._channel = Channel()
        self._limits = Limits()
        self._oom_kills = 0
        self._users = ToolUsers(slot.settings, {command.folder for command in commands.values()})
        self._user: User | None = None
        self._group: Group | None = None

    def begin(self, attempt: Attempt) -> None:
        start = attempt.start
        command = self._commands[start.tool, start.version]
        self._limits = limits_of(command, self._slot.settings.limits, timeout_s=start.timeout_s)
        self._channel = Channel(attempt.family.add_unheard)
        self._oom_kills = oom_kills()
        theirs: dict[str, int] = {}
        try:
            _furnish(attempt, command)
            if command.min_isolation == "L4":
                self._group = self._counted(start)
            for name in ("stdout", "stderr", "channel"):
                self._pipes[name], theirs[name] = os.pipe()
            self._start(command, attempt, theirs)
        except BadParameters as error:
            self._close()
            raise CannotStart(Fault(error.code, error.message, retryable=False)) from error
        except (OSError, CannotConfine, NoGroups) as error:
            self._close()
            self._part()
            raise CannotStart(_unstartable(error)) from error
        finally:
            for descriptor in theirs.values():
                os.close(descriptor)
        self._pidfd = os.pidfd_open(self._pid)
        with suppress(OSError):
            Path(f"/proc/{self._pid}/oom_score_adj").write_text("500")
        self._slot.watch_fd(self._pidfd, self._on_exit)
        for name, descriptor in self._pipes.items():
            os.set_blocking(descriptor, False)
            self._slot.watch_fd(descriptor, self._reading(attempt, name, descriptor))

    def ask(self, attempt: Attempt, *, soft: bool) -> None:
        if self._init is not None:
            tool = bubblewrap.tool_pid(self._init)
            if tool is not None:
                with suppress(ProcessLookupError):
                    os.kill(tool, signal.SIGTERM)
            return
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGTERM)

    def watch(self, attempt: Attempt) -> Fault | None:
        trees.reap(self.spared())
        return failures.crowded(len(trees.below(os.getpid())), most=self._limits.processes)

    def kill(self) -> None:
        self._strike()
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def sweep(self) -> list[int]:
        return trees.sweep(self.spared(), strike=self._strike)

    def spared(self) -> list[int]:
        """The main process, which may be dead but must not be collected: `finish` wants its status."""
        return [self._pid]

    def finish(self, attempt: Attempt) -> Ended:
        _, status = os.waitpid(self._pid, 0)
        for name, descriptor in self._pipes.items():
            drain(descriptor, self._taker(attempt, name))
        self._channel.end(attempt.capture)
        self._close()
        try:
            return self._judged(attempt, os.waitstatus_to_exitcode(status))
        finally:
            if self._user is not None:
                users.take_back(attempt.start.work_dir)
            self._part()

    def _strike(self) -> None:
        """End the whole tree at once, where something knows it as a whole."""
        if self._group is not None:
            self._group.kill()
        end_all(self._user)

    def _counted(self, start: Start) -> Group:
        """Raises NoGroups."""
        tasks = TASKS_PER_PROCESS * self._limits.processes
        root = self._slot.settings.cgroup
        return Group(root, name_of(start.handle), memory_bytes=self._limits.memory_bytes, tasks=tasks)

    def _part(self) -> None:
        """Forget what the attempt was lent."""
        self._user = None
        if self._group is not None:
            self._group.remove()
            self._group = None

    def _start(self, command: CommandTool, attempt: Attempt, theirs: Mapping[str, int]) -> None:
        """As a user of its own where that is proven; where that one cannot run it, as ours, and the job's log says so.

        Raises OSError or CannotConfine.
        """
        start = attempt.start
        self._user = self._users.lend() if start.own_user else None
        refusal = self._users.refusal if start.own_user else None
        if self._user is not None:
            try:
                hand_over(self._user.uid, start.work_dir, theirs)
                self._spawn(command, start, theirs)
                return
            except CannotConfine as error:
                refusal = str(error)
            self._user = None
            hand_over(os.geteuid(), start.work_dir, theirs)
        if refusal is not None:
            note = f"the command runs as the executor's user, because {refusal}"
            attempt.capture.said("log", note, level="warning", fields=None)
        self._spawn(command, start, theirs)

    def _spawn(self, command: CommandTool, start: Start, theirs: Mapping[str, int]) -> None:
        policy = Policy(
            level=command.min_isolation,
            work_dir=start.work_dir,
            read=(str(command.folder),),
            limits=self._limits,
            user=self._user,
            group=self._group,
        )
        descriptors = Descriptors(out=theirs["stdout"], err=theirs["stderr"], channel=theirs["channel"])
        env = environment(start)
        self._init = None
        if command.min_isolation in ("L3", "L4"):
            self._pid, self._init = bubblewrap.spawn(command.argv, policy=policy, env=env, descriptors=descriptors)
        else:
            self._pid = jail.spawn(command.argv, policy=policy, env=env, descriptors=descriptors)

    def _judged(self, attempt: Attempt, code: int) -> Ended:
        outputs = attempt.folder.has_outputs()
        if code != 0:
            verdict, fault = self._failed(attempt, code)
            return attempt.ended(verdict, fault=fault, return_code=code)
        try:
            value = read_result(attempt.start.work_dir)
        except ResultUnreadable as error:
            return attempt.ended(error.verdict, fault=error.fault, return_code=0)
        return attempt.ended(failures.SUCCEEDED, value=value, return_code=0, outputs=outputs)

    def _failed(self, attempt: Attempt, code: int) -> tuple[str, Fault]:
        if attempt.soft:
            return failures.TIMEOUT, failures.timed_out(attempt.start.soft_timeout_s, soft=True)
        events = self._group.events() if self._group is not None else None
        exhausted = failures.refused_by_group(events, self._limits) if events is not None else None
        if exhausted is not None:
            return exhausted
        said = self._channel.error
        if said is not None:
            return failures.ERROR, said
        tail = attempt.capture.copies()[1][-STDERR_TAIL:] or None
        if code > 0:
            return failures.ERROR, Fault("exit_code", f"the command ended with exit code {code}", detail=tail)
        verdict, fault = cause_of_death(code, oom=oom_kills() > self._oom_kills)
        if fault.code == "crashed":
            fault.code = "exit_code"
        fault.detail = tail
        return verdict, fault

    def _on_exit(self) -> None:
        self._slot.forget_fd(self._pidfd)
        self._slot.main_ended()

    def _taker(self, attempt: Attempt, name: str) -> Callable[[bytes], None]:
        if name == "channel":
            return lambda data: self._channel.feed(data, attempt.capture)
        return lambda data: attempt.capture.printed(name, data)

    def _reading(self, attempt: Attempt, name: str, descriptor: int) -> Callable[[], None]:
        take = self._taker(attempt, name)

        def read() -> None:
            with suppress(BlockingIOError):
                data = os.read(descriptor, READ_BYTES)
                if data:
                    take(data)
                else:
                    self._slot.forget_fd(descriptor)

        return read

    def _close(self) -> None:
        for descriptor in (*self._pipes.values(), self._pidfd):
            if descriptor >= 0:
                self._slot.forget_fd(descriptor)
                os.close(descriptor)
        self._pipes = {}
        self._pidfd = -1


def environment(start: Start) -> dict[str, str]:
    """All that a command tool finds in its environment."""
    return {
        "JOBYARD_JOB_ID": start.job_id,
        "JOBYARD_ATTEMPT": str(start.attempt),
        "JOBYARD_FENCE": str(start.fence),
        "JOBYARD_DEADLINE": _rfc3339(start.deadline) if start.deadline is not None else "",
        "JOBYARD_CHANNEL_FD": "3",
        "HOME": start.work_dir,
        "TMPDIR": start.work_dir,
        "PATH": SEARCH_PATH,
    }


def limits_of(command: CommandTool, default: Any, *, timeout_s: float) -> Limits:
    """The executor's limits, with what the tool states in `limits` (`memory_mib`, `file_mib`, `open_files`,
    `processes`) in their place."""

    def stated(name: str, otherwise: int, *, factor: int = 1) -> int:
        value = command.limits.get(name)
        return value * factor if isinstance(value, int) and not isinstance(value, bool) and value > 0 else otherwise

    return Limits(
        memory_bytes=stated("memory_mib", default.memory_bytes, factor=2**20),
        file_bytes=stated("file_mib", default.file_bytes, factor=2**20),
        open_files=stated("open_files", default.open_files),
        processes=stated("processes", default.processes),
        cpu_s=int(timeout_s * (os.cpu_count() or 1)) + 60,
    )


def _furnish(attempt: Attempt, command: CommandTool) -> None:
    """The work dir with `parameters.json`, `in/` and `out/`. Raises BadParameters."""
    parameters = attempt.folder.parameters(attempt.start.parameters)
    if parameters is not attempt.start.parameters:
        check_parameters(parameters, command.parameters)
    attempt.folder.make()
    for name in ("in", "out"):
        Path(attempt.start.work_dir, name).mkdir(mode=0o700, exist_ok=True)
    with open(f"{attempt.start.work_dir}/parameters.json", "wb") as file:  # noqa: PTH123
        file.write(parameters or b"{}")


def _unstartable(error: Exception) -> Fault:
    if isinstance(error, CannotConfine | NoGroups):
        return Fault("isolation_unavailable", str(error))
    return Fault("command_not_started", f"the command could not be started: {error}", type=type(error).__name__)


def _rfc3339(moment: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
