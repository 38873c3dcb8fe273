"""The command tree, and what becomes of an error: a sentence on stderr and an exact exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from jobyard.cli.codes import ExitCode, of_error
from jobyard.cli.commands import (
    admin,
    bulk,
    dead_letters,
    events,
    files,
    jobs,
    queues,
    run,
    schedules,
    server,
    tools,
    workflows,
)
from jobyard.cli.output import Output, one_line
from jobyard.errors import JobyardError, Refused, Unauthenticated, Unreachable

app = typer.Typer(
    name="jobyard",
    help="Run tools as jobs, and see what becomes of them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.add_typer(jobs.app, name="jobs")
app.command()(events.events)
app.add_typer(tools.app, name="tools")
app.add_typer(files.app, name="files")
app.add_typer(schedules.app, name="schedules")
app.add_typer(workflows.app, name="workflows")
app.add_typer(workflows.runs, name="runs")
app.add_typer(bulk.app, name="bulk")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(queues.queues, name="queues")
app.add_typer(queues.limits, name="limits")
app.add_typer(queues.workers, name="workers")
app.command()(server.status)
app.command()(server.login)
app.command("open")(server.open_console)
app.add_typer(admin.keys, name="keys")
app.add_typer(admin.tenants, name="tenants")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        Output(json=False).print(f"jobyard {version('jobyard')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Run tools as jobs, and see what becomes of them."""


def main() -> int:
    """Run the command line; returns the exit code and never raises."""
    as_json = "--json" in sys.argv[1:]
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BrokenPipeError:
        _close_stdout()
        return ExitCode.JOB_FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:
        code = of_error(error)
        _report(error, code, as_json=as_json)
        return code
    return ExitCode.DONE


def _report(error: Exception, code: ExitCode, *, as_json: bool) -> None:
    output = Output(json=as_json)
    if isinstance(error, Refused):
        document = dict(error.problem.document) or {"status": error.status, "code": error.code, "detail": str(error)}
    else:
        document = {"code": code.name.lower(), "detail": one_line(_sentence(error), width=2000)}
    if as_json:
        output.document(document)
    output.say(f"jobyard: {one_line(_sentence(error), width=2000)}")
    for line in _hints(error):
        output.say(f"  {one_line(line, width=1000)}")
    if code is ExitCode.INTERNAL and os.environ.get("JOBYARD_DEBUG"):
        traceback.print_exception(error)


def _sentence(error: Exception) -> str:
    match error:
        case Refused():
            return f"{error} [{error.code}]"
        case JobyardError():
            return str(error)
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{error.strerror or error}"
        case UnicodeError():
            return "an argument is not UTF-8"
        case _:
            return f"a fault of this program: {type(error).__name__}: {error}"


def _hints(error: Exception) -> list[str]:
    hints = list[str]()
    if isinstance(error, Refused):
        hints += [f"{row.get('pointer') or '/'}: {row.get('message')}" for row in error.problem.errors[:20]]
        hints += [f"trace {error.problem.trace_id}"] if error.problem.trace_id else []
    if isinstance(error, Unauthenticated):
        hints.append("check JOBYARD_API_KEY, or use `jobyard login`")
    if isinstance(error, Unreachable) and type(error) is Unreachable:
        hints.append("is it running? a local stack is started by `make run`")
    key = getattr(error, "idempotency_key", None)
    if key and of_error(error) is ExitCode.UNREACHABLE and getattr(error, "sent", True):
        hints.append(f"it may have arrived: repeat it with --idempotency-key {key}, which makes no second job")
    if of_error(error) is ExitCode.INTERNAL:
        hints.append("set JOBYARD_DEBUG=1 to see where")
    return hints


def _close_stdout() -> None:
    """Nobody reads on; keep the interpreter from complaining about it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
