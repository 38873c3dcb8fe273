"""The composition root: everything that the executor is made of, constructed here and nowhere else."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import version

from jobyard_common.contracts.topics import JOBS_COMMANDS
from jobyard_common.db.migrate import migrate
from jobyard_common.db.pool import create_pool
from jobyard_common.http.internal import InternalClient
from jobyard_common.http.server import HttpServer
from jobyard_common.messaging.consumer import ConsumerLoop
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.outbox import Relay
from jobyard_common.messaging.publisher import Publisher
from jobyard_common.runtime.clock import SystemClock
from jobyard_common.runtime.health import Readiness
from jobyard_common.runtime.supervisor import Component, run_service
from jobyard_common.telemetry.logging import configure
from jobyard_common.telemetry.shipping import LogBuffer, Shipping
from jobyard_common.telemetry.tracing import Tracer

from jobyard_executor.domain.session import LeaseTerms
from jobyard_executor.handlers.claim import Claimer
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.ingest import Ingest
from jobyard_executor.inbound.barrier import Barrier
from jobyard_executor.inbound.http import ReadApi, make_app
from jobyard_executor.inbound.partitions import Partitions
from jobyard_executor.inbound.timers import Timers, own_identity
from jobyard_executor.inbound.work import Work
from jobyard_executor.outbound.files_api import FilesApi
from jobyard_executor.outbound.output_pump import OutputPump
from jobyard_executor.outbound.registry import Registry
from jobyard_executor.outbound.runner import ProcessRunner, RunnerSettings
from jobyard_executor.settings import Settings

SERVICE = "executor"


def run_migrations(settings: Settings) -> None:
    migrate(settings.postgres_dsn, package="jobyard_executor", schema=SERVICE)


async def serve(settings: Settings) -> int:
    """Run until a signal; returns the exit code.

    Components start in the order of the list and drain in reverse: claims end first, then what runs, its outputs and
    events after it, the health page last.
    """
    instance, token = settings.instance(SERVICE), settings.token()
    logs = LogBuffer()
    configure(SERVICE, instance=instance, level=settings.log_level, ship=logs.add)
    tracer = Tracer(
        SERVICE,
        instance=instance,
        endpoint=settings.otlp_endpoint,
        sampler=settings.traces_sampler,
        sampler_arg=settings.traces_sampler_arg,
    )
    pool = await create_pool(settings.postgres_dsn, application_name=instance, max_size=settings.postgres_pool_size)
    kafka = KafkaSettings(settings.kafka_bootstrap, instance, settings.topic_prefix)
    publisher = Publisher(kafka, idempotent=settings.kafka_idempotence)
    readiness = Readiness()
    retention = timedelta(days=settings.job_retention_days)
    engine = Engine(SystemClock(), tracer, instance, cell=settings.cell, keyed_life=retention + timedelta(days=7))
    terms = LeaseTerms(
        beat=timedelta(seconds=settings.lease_beat_s),
        ttl=timedelta(seconds=settings.lease_ttl_s),
        trust=timedelta(seconds=settings.lease_trust_s),
    )
    identity = own_identity(instance)
    partitions = Partitions(engine, pool)
    ingest = Ingest(engine)
    consumer = ConsumerLoop(
        kafka,
        topic=JOBS_COMMANDS,
        group=SERVICE,
        instance_id=instance,
        pool=pool,
        apply=ingest.apply,
        tracer=tracer,
        max_records=settings.ingest_batch,
        after_commit=ingest.after_commit,
        paused=partitions.missing,
    )
    relay = Relay(pool, publisher, tracer=tracer, lock_name="executor.outbox")
    engine.wake_relay, engine.keep_records = relay.wake, relay.keep

    files = InternalClient(settings.files_url, token)
    runner = ProcessRunner(_runner_settings(settings), port=FilesApi(files, tracer=tracer, instance=instance))
    pump = OutputPump(publisher, source=engine.source, tracer=tracer)
    claimer = Claimer(engine, pool, tools=frozenset(), levels=frozenset())
    registry = Registry(pool, publisher, source=engine.source, on_registered=claimer.offer)

    def runner_ready() -> None:
        claimer.levels = runner.levels()
        registry.offer(runner.definitions())

    work = Work(
        engine,
        pool,
        runner,
        claimer,
        pump,
        terms=terms,
        identity=identity,
        on_runner_ready=runner_ready,
        drain_grace_s=settings.drain_grace_s,
    )
    timers = Timers(engine, pool, terms=terms, identity=identity, retention=retention, own_session=lambda: work.session)
    barrier = Barrier(pool, consumer.progress if "ingest" in settings.roles else None, topic=kafka.topic(JOBS_COMMANDS))
    http = HttpServer(
        make_app(ReadApi(pool, barrier), readiness=readiness, tracer=tracer, token=token),
        host=settings.http_host,
        port=settings.http_port,
    )
    shipping = Shipping(
        publisher,
        readiness,
        service=SERVICE,
        instance=instance,
        version=version("jobyard-executor"),
        logs=logs,
    )

    components: list[Component] = [publisher, http, shipping, partitions]
    if "relay" in settings.roles:
        components.append(relay)
        readiness.register("relay", relay.check)
    if "timers" in settings.roles:
        components.append(timers)
    if "work" in settings.roles:
        engine.wake_claim, engine.stop_running = work.wake, work.stop_running
        components += [pump, registry, work]
        readiness.register("work", work.check)
    if "ingest" in settings.roles:
        components.append(consumer)
        readiness.register("commands", consumer.check)
    readiness.register("kafka", publisher.check)
    readiness.register("database", partitions.check)
    try:
        return await run_service(components, readiness=readiness)
    finally:
        await files.close()
        await pool.close()
        tracer.shutdown()


def _runner_settings(settings: Settings) -> RunnerSettings:
    root = settings.data_dir.resolve()
    defaults = RunnerSettings(work_root=root / "work")
    return RunnerSettings(
        work_root=defaults.work_root,
        packs=settings.tool_packs,
        enable_shell=settings.enable_shell,
        folders=settings.folders(),
        async_slots=settings.async_slots,
        async_workers=settings.async_workers or defaults.async_workers,
        process_slots=defaults.process_slots if settings.process_slots is None else settings.process_slots,
        command_slots=defaults.command_slots if settings.command_slots is None else settings.command_slots,
        proof_file=root / "sandbox-proof.json",
    )
