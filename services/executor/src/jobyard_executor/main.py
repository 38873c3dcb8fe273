"""The composition root: everything that the executor is made of, constructed here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
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
from jobyard_executor.handlers.advance_runs import advance_runs
from jobyard_executor.handlers.claim import Claimer
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.count_waiting import WaitingCounts
from jobyard_executor.handlers.ingest import Ingest
from jobyard_executor.handlers.keep_queues_short import KeepQueuesShort
from jobyard_executor.handlers.prune_kinds import prune_kinds
from jobyard_executor.handlers.retire_tools import RetireTools
from jobyard_executor.handlers.room import Room
from jobyard_executor.handlers.watch_epoch import EpochWatch
from jobyard_executor.inbound import recover
from jobyard_executor.inbound.barrier import Barrier
from jobyard_executor.inbound.chores import Chore, chores
from jobyard_executor.inbound.declaring import Declaring, FlowKeeper
from jobyard_executor.inbound.http import ReadApi, make_app
from jobyard_executor.inbound.http_admission import AdmissionApi
from jobyard_executor.inbound.http_bulk import BulkApi
from jobyard_executor.inbound.http_dead_letters import DeadLetterApi
from jobyard_executor.inbound.http_dead_messages import DeadMessageApi
from jobyard_executor.inbound.http_limits import LimitApi
from jobyard_executor.inbound.http_parts import Part
from jobyard_executor.inbound.http_queues import QueueApi
from jobyard_executor.inbound.http_schedules import ScheduleApi
from jobyard_executor.inbound.http_workers import WorkerApi
from jobyard_executor.inbound.http_workflows import WorkflowApi
from jobyard_executor.inbound.partitions import Partitions
from jobyard_executor.inbound.run_pump import RunPump
from jobyard_executor.inbound.timers import Timers, own_identity
from jobyard_executor.inbound.told_epoch import ToldEpoch
from jobyard_executor.inbound.work import Work
from jobyard_executor.outbound.dead_topics import DeadTopics
from jobyard_executor.outbound.files_api import FilesApi
from jobyard_executor.outbound.hints import Hints
from jobyard_executor.outbound.output_pump import OutputPump
from jobyard_executor.outbound.registry import Registry
from jobyard_executor.outbound.runner import ProcessRunner, RunnerSettings
from jobyard_executor.sandbox import users
from jobyard_executor.settings import Settings
from jobyard_executor.store import admission

SERVICE = "executor"


def run_migrations(settings: Settings) -> None:
    migrate(settings.postgres_dsn, package="jobyard_executor", schema=SERVICE)


def run_recovery(settings: Settings, argv: Sequence[str]) -> int:
    """Returns the exit code."""
    kafka = KafkaSettings(settings.kafka_bootstrap, settings.instance(SERVICE), settings.topic_prefix)
    return recover.run(settings.postgres_dsn, kafka, argv)


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
    clock = SystemClock()
    epochs = EpochWatch(clock, ttl=timedelta(seconds=settings.lease_ttl_s))
    to_postgres = partial(
        create_pool,
        settings.postgres_dsn,
        application_name=instance,
        max_size=settings.postgres_pool_size,
        admit=epochs.admit,
    )
    pool, by_key = await to_postgres(), await to_postgres(fixed_plans=True)
    kafka = KafkaSettings(settings.kafka_bootstrap, instance, settings.topic_prefix)
    publisher = Publisher(kafka, idempotent=settings.kafka_idempotence)
    readiness = Readiness()
    retention = timedelta(days=settings.job_retention_days)
    engine = Engine(clock, tracer, instance, cell=settings.cell, keyed_life=retention + timedelta(days=7))
    admission_counts = admission.WaitingCounts(pool)
    engine.room = Room(admission_counts, most_waiting=settings.max_waiting_jobs)
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
        pool=by_key,
        apply=ingest.apply,
        tracer=tracer,
        max_records=settings.ingest_batch,
        after_commit=ingest.after_commit,
        paused=partitions.missing,
    )
    relay = Relay(by_key, publisher, tracer=tracer, lock_name="executor.outbox")
    engine.wake_relay, engine.keep_records = relay.wake, relay.keep
    run_pump = RunPump(engine, pool)
    engine.advance_runs, engine.wake_runs = advance_runs, run_pump.wake

    files = InternalClient(settings.files_url, token)
    runner = ProcessRunner(_runner_settings(settings), port=FilesApi(files, tracer=tracer, instance=instance))
    pump = OutputPump(publisher, source=engine.source, tracer=tracer)
    claimer = Claimer(
        engine,
        by_key,
        tools=frozenset(),
        levels=frozenset(),
        queues=settings.work_for(),
        version=version("jobyard-executor"),
        roles=settings.roles,
    )
    registry = Registry(pool, publisher, source=engine.source, on_registered=claimer.offer)

    def runner_ready() -> None:
        claimer.levels = runner.levels()
        registry.offer(runner.definitions())

    work = Work(
        engine,
        by_key,
        runner,
        claimer,
        pump,
        terms=terms,
        identity=identity,
        on_runner_ready=runner_ready,
        drain_grace_s=settings.drain_grace_s,
        may_claim=epochs.may_claim,
    )
    claimer.busy_queues = work.busy_queues
    counts = WaitingCounts(pool)

    async def forget_kinds() -> None:
        await prune_kinds(engine, pool, retention=settings.retention())

    retire_tools = RetireTools(engine, pool, after=timedelta(days=settings.tool_retirement_days))
    timers = Timers(
        engine,
        pool,
        terms=terms,
        identity=identity,
        retention=retention,
        own_session=lambda: work.session,
        more=(
            *chores(engine, pool, retention=retention),
            Chore("upkeep", 1.0, KeepQueuesShort(engine, pool).work),
            Chore("tools", 60.0, retire_tools.work),
            Chore("kinds", 3600.0, forget_kinds),
        ),
    )
    barrier = Barrier(pool, consumer.progress if "ingest" in settings.roles else None, topic=kafka.topic(JOBS_COMMANDS))
    parts: list[Part] = [
        QueueApi(engine, pool, counts),
        LimitApi(engine, pool),
        WorkerApi(engine, pool),
        AdmissionApi(admission_counts),
        ScheduleApi(engine, pool),
        BulkApi(engine, pool, barrier),
        DeadLetterApi(engine, pool, barrier),
        DeadMessageApi(engine, pool, DeadTopics(kafka)),
        WorkflowApi(engine, pool, barrier),
    ]
    http = HttpServer(
        make_app(
            ReadApi(pool, barrier, by_key=by_key) if "api" in settings.roles else None,
            readiness=readiness,
            tracer=tracer,
            token=token,
            parts=parts if "api" in settings.roles else (),
        ),
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

    hints = Hints(
        settings.valkey_url,
        prefix=settings.topic_prefix,
        instance=instance,
        heard=work.stop_running if "work" in settings.roles else None,
    )
    engine.stop_running = hints.stop_running
    of_queues = (Declaring(pool, settings.declared()), FlowKeeper(engine, pool, counts))
    components: list[Component] = [publisher, http, shipping, partitions, ToldEpoch(kafka, epochs), hints, *of_queues]
    if "relay" in settings.roles:
        components.append(relay)
        readiness.register("relay", relay.check)
    if "timers" in settings.roles:
        components += [timers, run_pump]
    if "work" in settings.roles:
        engine.wake_claim = work.wake
        components += [pump, registry, work]
        readiness.register("work", work.check)
    if "ingest" in settings.roles:
        components.append(consumer)
        readiness.register("commands", consumer.check)
    readiness.register("kafka", publisher.check)
    readiness.register("database", partitions.check)
    readiness.register("epoch", epochs.check)
    try:
        return await run_service(components, readiness=readiness)
    finally:
        await counts.close()
        await files.close()
        await by_key.close()
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
        limits=settings.tool_limits(),
        user_ids=users.read_ids(settings.tool_users),
        cgroup=settings.tool_cgroup,
        proof_file=root / "sandbox-proof.json",
    )
