"""The composition root: everything that the gateway is made of, constructed here and nowhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version

from jobyard_common.contracts.topics import JOBS_EVENTS, JOBS_INTAKE, JOBS_OUTPUT, TOOLS
from jobyard_common.db.engine import make_engine
from jobyard_common.db.migrate import migrate
from jobyard_common.db.pool import create_pool
from jobyard_common.http.internal import InternalClient
from jobyard_common.http.server import HttpServer
from jobyard_common.messaging.broker import SmallTopics
from jobyard_common.messaging.consumer import ConsumerLoop
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.outbox import Relay
from jobyard_common.messaging.publisher import Publisher
from jobyard_common.messaging.tail import Tail
from jobyard_common.runtime.clock import SystemClock
from jobyard_common.runtime.health import Readiness
from jobyard_common.runtime.supervisor import Component, run_service
from jobyard_common.telemetry.logging import configure
from jobyard_common.telemetry.shipping import LogBuffer, Shipping
from jobyard_common.telemetry.tracing import Tracer

from jobyard_gateway.documents.asyncapi import asyncapi
from jobyard_gateway.domain.rate import rates_of
from jobyard_gateway.domain.tools import Registry
from jobyard_gateway.handlers.administer import Administrator
from jobyard_gateway.handlers.admit import Admission
from jobyard_gateway.handlers.authenticate import Authenticator
from jobyard_gateway.handlers.await_end import Waiting
from jobyard_gateway.handlers.check_schedule import ScheduleChecker
from jobyard_gateway.handlers.follow_job import Streams
from jobyard_gateway.handlers.follow_tenant import TenantStreams
from jobyard_gateway.handlers.give_order import Orders
from jobyard_gateway.handlers.limit import Limiter
from jobyard_gateway.handlers.live import Hub, LiveStreams
from jobyard_gateway.handlers.read_jobs import JobReader
from jobyard_gateway.handlers.repeat_safely import Repeats
from jobyard_gateway.handlers.start_run import RunStarter
from jobyard_gateway.handlers.steer_job import Steering
from jobyard_gateway.handlers.steer_run import RunSteering
from jobyard_gateway.handlers.submit_batch import BatchSubmitter
from jobyard_gateway.handlers.submit_job import Submitter
from jobyard_gateway.handlers.submit_together import Together
from jobyard_gateway.handlers.system_status import SystemStatus
from jobyard_gateway.inbound.http.admin import AdminRoutes
from jobyard_gateway.inbound.http.app import make_api, make_app
from jobyard_gateway.inbound.http.batches import BatchRoutes
from jobyard_gateway.inbound.http.bulk import BulkRoutes
from jobyard_gateway.inbound.http.dead_letters import DeadLetterRoutes
from jobyard_gateway.inbound.http.door import Door
from jobyard_gateway.inbound.http.events import EventRoutes
from jobyard_gateway.inbound.http.files import FileRoutes
from jobyard_gateway.inbound.http.jobs import JobRoutes
from jobyard_gateway.inbound.http.operations import OperationRoutes
from jobyard_gateway.inbound.http.owned import Owned
from jobyard_gateway.inbound.http.queues import QueueRoutes
from jobyard_gateway.inbound.http.routing import Endpoint
from jobyard_gateway.inbound.http.schedules import ScheduleRoutes
from jobyard_gateway.inbound.http.submit import SubmitEndpoint
from jobyard_gateway.inbound.http.tools import ToolRoutes
from jobyard_gateway.inbound.http.workflows import WorkflowRoutes
from jobyard_gateway.inbound.kafka.intake import Intake
from jobyard_gateway.inbound.kafka.tools import ToolTopic
from jobyard_gateway.outbound.barrier import Barrier
from jobyard_gateway.outbound.command_log import CommandLog
from jobyard_gateway.outbound.commands import Commands
from jobyard_gateway.outbound.event_log import EventLog
from jobyard_gateway.outbound.executor import Executor
from jobyard_gateway.outbound.ledger import Ledger
from jobyard_gateway.outbound.monitor import Monitor
from jobyard_gateway.outbound.queue_book import QueueBook
from jobyard_gateway.outbound.references import References
from jobyard_gateway.outbound.shelf import Shelf
from jobyard_gateway.outbound.slices import Slices
from jobyard_gateway.outbound.workers import Workers
from jobyard_gateway.settings import Settings
from jobyard_gateway.store.keys import Administration
from jobyard_gateway.store.secrets import Secrets, ensure, wait_for

SERVICE = "gateway"


def run_migrations(settings: Settings) -> None:
    migrate(settings.postgres_dsn, package="jobyard_gateway", schema=SERVICE)


async def serve(settings: Settings) -> int:
    """Run until a signal; returns the exit code."""
    logs = LogBuffer()
    configure(SERVICE, instance=settings.instance(SERVICE), level=settings.log_level, ship=logs.add)
    door = Door(host=settings.http_host, port=settings.http_port, instance=settings.instance(SERVICE))
    await door.start()
    gateway = await assemble(settings, logs=logs, door=door)
    try:
        return await run_service(gateway.components, readiness=gateway.readiness)
    finally:
        await gateway.close()


@dataclass(frozen=True)
class Gateway:
    """The parts of a gateway, ready to be started.

    Components start in the order of the list and drain in reverse: streams end first, then requests, then what they
    promised leaves the spool.
    """

    components: list[Component]
    readiness: Readiness
    http: HttpServer
    endpoints: list[Endpoint]
    close: Callable[[], Awaitable[None]]


async def assemble(settings: Settings, *, logs: LogBuffer, door: Door | None = None) -> Gateway:
    """Construct everything; waits for the database, without which no key can be checked. `door` may be open before."""
    instance, token, clock = settings.instance(SERVICE), settings.token(), SystemClock()
    tracer = Tracer(
        SERVICE,
        instance=instance,
        endpoint=settings.otlp_endpoint,
        sampler=settings.traces_sampler,
        sampler_arg=settings.traces_sampler_arg,
    )
    pool = await create_pool(settings.postgres_dsn, application_name=instance, max_size=settings.postgres_pool_size)
    engine = make_engine(settings.postgres_dsn, application_name=f"{instance}-admin")
    kafka = KafkaSettings(settings.kafka_bootstrap, instance, settings.topic_prefix)
    publisher = Publisher(kafka, idempotent=settings.kafka_idempotence)
    relay = Relay(pool, publisher, tracer=tracer, lock_name="gateway.outbox")
    readiness = Readiness()
    secrets: Secrets = await wait_for(pool, ensure)

    shelf = Shelf(settings.valkey_url, prefix=f"{settings.topic_prefix}gateway:", monotonic=clock.monotonic)
    executor_client = InternalClient(settings.executor_url, token)
    files_client = InternalClient(settings.files_url, token, timeout_s=60)
    monitor_client = InternalClient(settings.monitor_url, token)
    executor, monitor = Executor(executor_client), Monitor(monitor_client)
    registry = Registry()
    workers = Workers(executor, registry)
    ledger = Ledger(shelf, pool, monotonic=clock.monotonic)
    barrier = Barrier(shelf, monotonic=clock.monotonic, replicated=settings.replicated)
    command_log = CommandLog(kafka, publisher)
    references = References(
        executor, files_client, ledger=ledger, barrier=barrier, log=command_log, monotonic=clock.monotonic
    )
    commands = Commands(publisher, pool, tracer=tracer, monotonic=clock.monotonic, wake_relay=relay.wake)
    admission = Admission(executor, most_waiting=settings.max_waiting_jobs, monotonic=clock.monotonic)
    limiter = Limiter(
        rates_of(settings.rate_limits),
        rates_of(settings.key_rate_limits),
        monotonic=clock.monotonic,
        slices=Slices(shelf, instance=instance) if settings.replicated else None,
    )
    book = QueueBook(executor)
    submitter = Submitter(
        registry,
        references,
        commands,
        ledger=ledger,
        barrier=barrier,
        admission=admission,
        book=book,
        id_secret=secrets.ids,
        clock=clock,
        cell=settings.cell,
    )
    together = Together(submitter, commands, ledger=ledger, barrier=barrier, clock=clock)
    repeats = Repeats(submitter, shelf, executor)
    authenticator = Authenticator(pool, pepper=secrets.pepper, clock=clock)
    reader = JobReader(executor, ledger, barrier, command_log, public_url=settings.public_url)
    orders = Orders(commands, barrier, executor, monotonic=clock.monotonic)
    steering = Steering(reader, orders, cell=settings.cell)
    hub = Hub()
    streams = Streams(hub, reader, monitor, monotonic=clock.monotonic)
    waiting = Waiting(hub, reader, monotonic=clock.monotonic)
    clients = {"executor": executor_client, "files": files_client, "monitor": monitor_client}
    administrator = Administrator(Administration(engine), pepper=secrets.pepper, clock=clock)

    owned = Owned(executor, barrier)
    run_starter = RunStarter(
        registry,
        references,
        commands,
        executor,
        barrier=barrier,
        shelf=shelf,
        id_secret=secrets.ids,
        clock=clock,
        cell=settings.cell,
    )
    run_steering = RunSteering(orders, commands, barrier, executor, log=command_log, cell=settings.cell, clock=clock)
    endpoints = [
        *JobRoutes(reader, steering, streams, monitor, trace_url=settings.trace_url).endpoints(),
        *BatchRoutes(BatchSubmitter(submitter, together, repeats, cell=settings.cell), limiter).endpoints(),
        *ToolRoutes(registry, workers).endpoints(),
        *FileRoutes(files_client, public_url=settings.public_url).endpoints(),
        *EventRoutes(TenantStreams(hub, EventLog(kafka, publisher), monotonic=clock.monotonic)).endpoints(),
        *OperationRoutes(monitor, SystemStatus(monitor, clients, readiness)).endpoints(),
        *QueueRoutes(owned).endpoints(),
        *ScheduleRoutes(owned, ScheduleChecker(submitter, clock=clock)).endpoints(),
        *BulkRoutes(owned).endpoints(),
        *DeadLetterRoutes(owned, registry).endpoints(),
        *WorkflowRoutes(owned, run_starter, run_steering).endpoints(),
        *AdminRoutes(administrator, on_revoked=authenticator.forget).endpoints(),
    ]
    own_version = version("jobyard-gateway")
    app = make_app(
        make_api(endpoints, authenticator=authenticator, limiter=limiter),
        SubmitEndpoint(authenticator, submitter, repeats, reader=reader, waiting=waiting, limiter=limiter),
        readiness=readiness,
        tracer=tracer,
        version=own_version,
        events_document=asyncapi(version=own_version, bootstrap=settings.kafka_bootstrap, prefix=settings.topic_prefix),
    )
    http = door or Door(host=settings.http_host, port=settings.http_port, instance=instance)
    http.lead_to(app)
    tool_topic = ToolTopic(registry, pool)
    intake = Intake(
        submitter,
        repeats,
        authenticator,
        admission,
        default_tenant=settings.intake_tenant,
        clock=clock,
        root=tracer.root,
    )

    def intake_committed() -> None:
        intake.after_commit()
        relay.wake()

    consumer = ConsumerLoop(
        kafka,
        topic=JOBS_INTAKE,
        group="gateway-intake",
        instance_id=instance,
        pool=pool,
        apply=intake.apply,
        prepare=intake.prepare,
        tracer=tracer,
        max_records=100,
        after_commit=intake_committed,
    )
    tail = Tail(kafka, [JOBS_EVENTS, JOBS_OUTPUT], hub.on_records, on_gap=hub.on_gap, idle=hub.idle, wants=hub.wants)
    hub.on_interest = tail.attend
    components: list[Component] = [
        publisher,
        command_log,
        relay,
        shelf,
        admission,
        book,
        tool_topic,
        SmallTopics(kafka, [TOOLS], tool_topic.on_records),
        tail,
        workers,
        Shipping(publisher, readiness, service=SERVICE, instance=instance, version=own_version, logs=logs),
        consumer,
        http,
        LiveStreams(hub),
    ]
    readiness.register("kafka", publisher.check)
    readiness.register("spool", relay.check)
    readiness.register("valkey", shelf.check)
    readiness.register("intake", consumer.check)

    async def close() -> None:
        for client in clients.values():
            await client.close()
        await engine.dispose()
        await pool.close()
        tracer.shutdown()

    return Gateway(components, readiness, http, endpoints, close)
