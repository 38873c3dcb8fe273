"""`jobyard run`: upload, submit, wait, show."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobyard.cli import arguments, live, results, session
from jobyard.cli.codes import ExitCode, UsageError
from jobyard.cli.options import Download, Json, Parameters
from jobyard.cli.output import Output, one_line

if TYPE_CHECKING:
    from jobyard.client import Client, Job

DEDUPE_MODES = ("while_active", "ttl", "debounce")


def run(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="NAME or NAME@VERSION; see `jobyard tools list`.")],
    parameter: Parameters = [],  # noqa: B006 - typer copies it
    file: Annotated[
        list[str], typer.Option("--file", "-f", metavar="[SLOT=]PATH", help="Upload a file, or name a file_… id.")
    ] = [],  # noqa: B006
    follow: Annotated[bool, typer.Option("--follow", help="Show states, progress and log lines live.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait; print the job as submitted.")] = False,
    download: Download = None,
    tag: Annotated[list[str], typer.Option("--tag", help="A tag; may be repeated.")] = [],  # noqa: B006
    metadata: Annotated[list[str], typer.Option("--metadata", metavar="NAME=VALUE", help="May be repeated.")] = [],  # noqa: B006
    queue: Annotated[str | None, typer.Option("--queue", help="The queue; the tool's own if not given.")] = None,
    priority: Annotated[int | None, typer.Option("--priority", min=1, max=10, help="10 is most urgent.")] = None,
    timeout: Annotated[str | None, typer.Option("--timeout", help="Of one attempt: 90, 5m, 2h.")] = None,
    soft_timeout: Annotated[
        str | None, typer.Option("--soft-timeout", help="The tool is asked to end: 60, 4m.")
    ] = None,
    delay: Annotated[str | None, typer.Option("--delay", help="Start no earlier than in: 90, 5m, 2h, 1d.")] = None,
    run_at: Annotated[str | None, typer.Option("--run-at", help="Start no earlier than: RFC 3339 with zone.")] = None,
    ttl: Annotated[str | None, typer.Option("--ttl", help="Give up if it has not started after: 90, 5m.")] = None,
    deadline: Annotated[str | None, typer.Option("--deadline", help="Ended by then: RFC 3339 with zone.")] = None,
    max_attempts: Annotated[int | None, typer.Option("--max-attempts", min=1, max=100)] = None,
    retry: Annotated[
        list[str],
        typer.Option("--retry", metavar="NAME=VALUE", help="backoff, base_s, cap_s, jitter, budget_s, non_retryable."),
    ] = [],  # noqa: B006
    fairness_key: Annotated[str | None, typer.Option("--fairness-key", help="Whose turn it takes.")] = None,
    concurrency_key: Annotated[str | None, typer.Option("--concurrency-key", help="Few at once of this key.")] = None,
    callback: Annotated[str | None, typer.Option("--callback-url", help="Told of the end.")] = None,
    after: Annotated[list[str], typer.Option("--after", metavar="JOB", help="Wait for this job first.")] = [],  # noqa: B006
    dedupe: Annotated[
        str | None, typer.Option("--dedupe", metavar="[MODE:]KEY", help="One job for KEY: while_active, ttl, debounce.")
    ] = None,
    dedupe_for: Annotated[str | None, typer.Option("--dedupe-for", help="Of ttl and debounce: 30s, 5m.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run, even if an earlier result would answer.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="The same key never makes a second job.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a tool and wait for its end.

    Exit code: 0 succeeded, 1 failed, 5 cancelled or expired. Ctrl-C leaves the job running.
    """
    from jobyard.client.requests import checked_key, mint_key

    output = Output(json=json)
    if detach and (follow or download):
        raise UsageError("--detach does not wait, so --follow and --download do not go with it")
    options = {
        "tags": arguments.texts(tag, option="--tag") or None,
        "metadata": arguments.metadata(metadata) or None,
        "queue": queue,
        "priority": priority,
        "timeout_s": arguments.seconds(timeout, option="--timeout"),
        "delay_s": arguments.seconds(delay, option="--delay", zero=True),
        "run_at": moment(run_at),
        "ttl_s": arguments.seconds(ttl, option="--ttl"),
        "soft_timeout_s": arguments.seconds(soft_timeout, option="--soft-timeout"),
        "deadline_at": moment(deadline, option="--deadline"),
        "retry": arguments.retry(retry, max_attempts=max_attempts) or None,
        "fairness_key": fairness_key,
        "concurrency_key": concurrency_key,
        "callback_url": callback,
        "dedupe": _dedupe(dedupe, dedupe_for),
        "use_cache": False if fresh else None,
        "depends_on": arguments.texts(after, option="--after") or None,
    }
    parameters, files = arguments.parameters(parameter), arguments.files(file)
    key = mint_key() if idempotency_key is None else checked_key(idempotency_key)
    if download is not None:
        results.ready_folder(download)
    with session.connect() as client:
        job: Job | None = None
        submitting = False
        try:
            slots = _slots(client, tool, files, output)
            submitting = True
            with session.patient_interrupts():
                job = client.submit(
                    tool, parameters=parameters or None, files=slots or None, idempotency_key=key, **options
                )
            if detach:
                _detached(job, output)
                return
            code = _wait(client, job, output, follow=follow, download=download)
        except KeyboardInterrupt:
            _interrupted(job, output, key=key if submitting else None)
            raise typer.Exit(ExitCode.INTERRUPTED) from None
    raise typer.Exit(code)


def moment(text: str | None, *, option: str = "--run-at") -> str | None:
    """A time with its zone, as given."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text[:60]!r}: write it as 2031-05-01T08:00:00Z") from None
    if found.tzinfo is None:
        raise UsageError(f"{option} {text[:60]!r}: add the zone, Z or +02:00")
    return text


def created(after: str | None, before: str | None) -> dict[str, object]:
    """The members of a filter by time."""
    return {
        "created_after": moment(after, option="--created-after"),
        "created_before": moment(before, option="--created-before"),
    }


def _dedupe(text: str | None, lasting: str | None) -> dict[str, Any] | None:
    """`KEY`, or `MODE:KEY` with one of the three modes; any other text before a colon belongs to the key."""
    if text is None:
        if lasting is not None:
            raise UsageError("--dedupe-for goes with --dedupe")
        return None
    mode, colon, key = text.partition(":")
    if not colon or mode not in DEDUPE_MODES:
        mode, key = DEDUPE_MODES[0], text
    ttl_s = arguments.seconds(lasting, option="--dedupe-for")
    return {"key": arguments.text(key, what="--dedupe"), "mode": mode, "ttl_s": ttl_s}


def _slots(client: Client, tool: str, files: list[arguments.FileArgument], output: Output) -> dict[str, str]:
    """Slot by slot the id of its file, uploaded where it is a path. An unknown tool is refused before any upload."""
    if not files:
        return {}
    document = client.tools.get(tool.partition("@")[0]).document
    slots = dict[str, str]()
    named = [(each.slot or arguments.slot_of(document), each) for each in files]
    for slot, each in named:
        if each.path is not None:
            slots[slot] = session.upload(client, each.path, output).id
        elif each.file_id is not None:
            slots[slot] = each.file_id
    return slots


def _detached(job: Job, output: Output) -> None:
    if output.json:
        output.document(job.document)
        return
    output.print(job.id)
    output.say(f"follow it: jobyard jobs watch {job.id}")


def _wait(client: Client, job: Job, output: Output, *, follow: bool, download: Path | None) -> ExitCode:
    if output.json and follow:
        output.document({"event": "job.submitted", "id": "", "data": job.document})
    elif not output.json:
        output.say(f"{job.id} {one_line(job.tool)}")
    try:
        job = live.watch(job, output, logs=follow)
        result = results.result_document(client, job.id) if download is not None or not output.json else None
        if result is not None and download is not None:
            results.fetch_files(client, result, download, output)
    except Exception:
        output.say(f"{job.id} was submitted; look after it: jobyard jobs watch {job.id}")
        raise
    if output.json and follow:
        output.document({"event": "job.finished", "id": "", "data": job.document})
    elif output.json:
        output.document(job.document)
    code = live.finish(job, output)
    if result is not None and not output.json:
        results.show_value(result, output)
    return code


def _interrupted(job: Job | None, output: Output, *, key: str | None) -> None:
    if job is not None:
        if output.json:
            output.document(job.document)
        output.say(f"\nInterrupted. {job.id} goes on.")
        output.say(f"  follow it:  jobyard jobs watch {job.id}\n  cancel it:  jobyard jobs cancel {job.id}")
    elif key is not None:
        output.say("\nInterrupted while submitting: the job may or may not run.")
        output.say(f"  to be sure, repeat the command with --idempotency-key {key}; it makes no second job")
    else:
        output.say("\nInterrupted; nothing was submitted. A half-done upload goes on when you repeat the command.")


def job_summary(job: dict[str, Any]) -> tuple[object, ...]:
    """A job's row in a list."""
    reason = f" ({job['reason']})" if job.get("reason") else ""
    return job.get("id"), job.get("tool"), f"{job.get('state')}{reason}", job.get("attempt"), job.get("created_at")
