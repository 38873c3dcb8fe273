"""`jobyard queues …`, `jobyard limits …` and `jobyard workers …`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobyard.cli import arguments, listing, session
from jobyard.cli.codes import UsageError
from jobyard.cli.options import Cursor, Every, Json, Limit
from jobyard.cli.output import Output, one_line

if TYPE_CHECKING:
    from jobyard.client import Client

queues = typer.Typer(help="Queues: how full, paused or drained, their limits.", no_args_is_help=True)
routes = typer.Typer(help="Which queue jobs of a tool go to that name none.", no_args_is_help=True)
limits = typer.Typer(help="Limits on queues, tools, tenants and keys.", no_args_is_help=True)
workers = typer.Typer(help="Workers: what they offer and run, drain and resume.", no_args_is_help=True)
queues.add_typer(routes, name="routes")

Name = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="queue:…, tool:…, tenant:…, key:… or fairness:….")]
Id = Annotated[str, typer.Argument(metavar="WORKER", help="The worker's id, as `list` shows it.")]
Concurrency = Annotated[int | None, typer.Option("--concurrency", min=0, help="Jobs at once.")]
RateText = Annotated[str | None, typer.Option("--rate", metavar="N/TIME", help="Starts in a time: 10/s, 100/5m.")]
Burst = Annotated[int | None, typer.Option("--burst", min=1, help="Starts at once after a pause.")]
Weight = Annotated[float | None, typer.Option("--weight", help="How much a turn weighs; 1 is usual.")]
_RATE = re.compile(r"(\d{1,7})/(\d*\.?\d*(?:ms|s|m|h|d))", re.ASCII)
_QUEUE_FACTS = ("name", "paused", "draining", "weight", "depth", "oldest_age_s", "limits", "rates")
_WORKER_FACTS = (
    "id", "alive", "draining", "version", "host", "roles", "queues", "slots", "running", "levels", "tools", "beat_at",
    "started_at", "jobs",
)  # fmt: skip


def _tell(document: dict[str, Any], output: Output, names: tuple[str, ...]) -> None:
    if output.json:
        output.document(document)
    else:
        output.facts((name, document.get(name)) for name in names)


def _told(call: Callable[[Client], Any], names: tuple[str, ...], *, json: bool) -> None:
    """Call, and show the document of what came back."""
    with session.connect() as client:
        _tell(call(client).document, Output(json=json), names)


def _rate(text: str | None, burst: int | None) -> dict[str, Any] | None:
    """`10/s`, `100/5m`."""
    if text is None:
        if burst is not None:
            raise UsageError("--burst goes with --rate")
        return None
    found = _RATE.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise UsageError(f"--rate {one_line(text, width=60)}: write it as 10/s or 100/5m")
    period = found[2] if found[2][0].isdigit() else f"1{found[2]}"
    rate = {"count": int(found[1]), "per_s": arguments.seconds(period, option="--rate")}
    return rate if burst is None else rate | {"burst": burst}


@queues.command("list")
def list_queues(json: Json = False) -> None:
    """All queues and how full they are."""
    page = listing.fetch("/v1/queues", {}, limit=None, every=True, cursor=None)
    listing.show(
        page, Output(json=json), ("name", "state", "queued", "running", "later", "oldest_s", "limit"), _queue_row
    )


@queues.command("show")
def show_queue(name: Name, json: Json = False) -> None:
    """A queue: depth by state, limits, what came and went in the last minute."""
    _told(lambda client: client.queues.get(name), _QUEUE_FACTS, json=json)


@queues.command("pause")
def pause_queue(name: Name, json: Json = False) -> None:
    """Start no more of its jobs; new ones are still taken."""
    _told(lambda client: client.queues.pause(name), _QUEUE_FACTS, json=json)


@queues.command("resume")
def resume_queue(name: Name, json: Json = False) -> None:
    """End a pause and a drain."""
    _told(lambda client: client.queues.resume(name), _QUEUE_FACTS, json=json)


@queues.command("drain")
def drain_queue(name: Name, json: Json = False) -> None:
    """Take no more jobs; those that wait still run."""
    _told(lambda client: client.queues.drain(name), _QUEUE_FACTS, json=json)


@queues.command("set")
def set_queue(
    name: Name,
    weight: Weight = None,
    concurrency: Concurrency = None,
    rate: RateText = None,
    burst: Burst = None,
    max_waiting: Annotated[int | None, typer.Option("--max-waiting", min=0, help="Most waiting jobs.")] = None,
    no_limits: Annotated[bool, typer.Option("--no-limits", help="Take all its limits away first.")] = False,
    json: Json = False,
) -> None:
    """Change its weight and limits; what is not named stays."""
    found = {"concurrency": concurrency, "rate": _rate(rate, burst), "max_waiting": max_waiting}
    bounds = found if no_limits else {key: value for key, value in found.items() if value is not None}
    changes: dict[str, Any] = ({"limits": bounds} if bounds else {}) | ({} if weight is None else {"weight": weight})
    if not changes:
        raise UsageError("name what to change: --weight, --concurrency, --rate, --max-waiting or --no-limits")
    _told(lambda client: client.queues.change(name, **changes), _QUEUE_FACTS, json=json)


@routes.command("list")
def list_routes(json: Json = False) -> None:
    """All routes."""
    page = listing.fetch("/v1/routes", {}, limit=None, every=True, cursor=None)
    listing.show(page, Output(json=json), ("tool", "queue"), lambda row: (row.get("tool"), row.get("queue")))


@routes.command("set")
def set_route(tool: str, queue: str, json: Json = False) -> None:
    """Send jobs of TOOL that name no queue to QUEUE. Jobs that wait stay where they are."""
    with session.connect() as client:
        _tell(client.queues.route(tool, queue=queue), Output(json=json), ("tool", "queue"))


@routes.command("rm")
def remove_route(tool: str) -> None:
    """Let jobs of TOOL go to its own queue again."""
    with session.connect() as client:
        client.queues.unroute(tool)
    Output(json=False).say("done")


@limits.command("list")
def list_limits(limit: Limit = 50, every: Every = False, cursor: Cursor = None, json: Json = False) -> None:
    """Limits that somebody put."""
    page = listing.fetch("/v1/limits", {}, limit=limit, every=every, cursor=cursor)
    columns = ("key", "concurrency", "running", "rate", "weight", "declared_by")
    listing.show(page, Output(json=json), columns, lambda row: tuple(row.get(column) for column in columns))


@limits.command("show")
def show_limit(key: Key, json: Json = False) -> None:
    """A limit, and your jobs that hold it."""
    with session.connect() as client:
        document = client.limits.get(key).document
    _tell(document, Output(json=json), tuple(document))


@limits.command("set")
def set_limit(
    key: Key,
    concurrency: Concurrency = None,
    rate: RateText = None,
    burst: Burst = None,
    weight: Weight = None,
    json: Json = False,
) -> None:
    """Put a limit on a key; it replaces the one that is there."""
    if concurrency is None and rate is None and weight is None:
        raise UsageError("give --concurrency, --rate or --weight")
    with session.connect() as client:
        found = client.limits.put(key, concurrency=concurrency, rate=_rate(rate, burst), weight=weight).document
    _tell(found, Output(json=json), tuple(found))


@limits.command("rm")
def remove_limit(key: Key) -> None:
    """Take a limit away."""
    with session.connect() as client:
        client.limits.delete(key)
    Output(json=False).say("done")


@workers.command("list")
def list_workers(json: Json = False) -> None:
    """All workers."""
    page = listing.fetch("/v1/workers", {}, limit=None, every=True, cursor=None)
    columns = ("id", "state", "version", "queues", "running", "slots", "beat_at")
    listing.show(page, Output(json=json), columns, _worker_row)


@workers.command("show")
def show_worker(worker: Id, json: Json = False) -> None:
    """A worker, and your jobs that it runs."""
    _told(lambda client: client.workers.get(worker), _WORKER_FACTS, json=json)


@workers.command("drain")
def drain_worker(worker: Id, json: Json = False) -> None:
    """Let it claim nothing more, after a restart neither; what runs there ends as ever."""
    _told(lambda client: client.workers.drain(worker), _WORKER_FACTS, json=json)


@workers.command("resume")
def resume_worker(worker: Id, json: Json = False) -> None:
    """Let it work again."""
    _told(lambda client: client.workers.resume(worker), _WORKER_FACTS, json=json)


def _queue_row(row: dict[str, Any]) -> tuple[object, ...]:
    depth, bounds = row.get("depth") or {}, row.get("limits") or {}
    state = "paused" if row.get("paused") else "draining" if row.get("draining") else "open"
    later = sum(depth.get(name, 0) for name in ("scheduled", "retry_wait", "blocked"))
    first = (row.get("name"), state, depth.get("queued"), depth.get("running"), later)
    return (*first, row.get("oldest_age_s"), bounds.get("concurrency"))


def _worker_row(row: dict[str, Any]) -> tuple[object, ...]:
    state = "gone" if not row.get("alive") else "draining" if row.get("draining") else "working"
    slots = sum(kind.get("total", 0) for kind in (row.get("slots") or {}).values())
    listed = ",".join(row.get("queues") or [])
    return row.get("id"), state, row.get("version"), listed, row.get("running"), slots, row.get("beat_at")
