"""The composition root: everything that the service is made of, constructed here and nowhere else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib.metadata import version

from jobyard_common.contracts.telemetry import Check
from jobyard_common.contracts.topics import JOBS_EVENTS
from jobyard_common.db.migrate import migrate
from jobyard_common.db.pool import create_pool
from jobyard_common.http.internal import InternalClient
from jobyard_common.http.server import HttpServer
from jobyard_common.messaging.following import Follower
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.outbox import Relay
from jobyard_common.messaging.publisher import Publisher
from jobyard_common.runtime.clock import SystemClock
from jobyard_common.runtime.health import Readiness
from jobyard_common.runtime.supervisor import run_service
from jobyard_common.telemetry.logging import configure
from jobyard_common.telemetry.shipping import LogBuffer, Shipping
from jobyard_common.telemetry.tracing import Tracer

from jobyard_files.handlers.append_upload import AppendUpload
from jobyard_files.handlers.create_upload import CreateUpload
from jobyard_files.handlers.delete_file import DeleteFile
from jobyard_files.handlers.find_file import FindFile
from jobyard_files.handlers.list_files import ListFiles
from jobyard_files.handlers.live_uploads import LiveUploads
from jobyard_files.handlers.locate_offset import LocateOffset
from jobyard_files.handlers.read_content import ReadContent
from jobyard_files.handlers.release_outputs import ReleaseOutputs, concerns_files
from jobyard_files.handlers.seal_file import Sealer
from jobyard_files.handlers.store_output import OutputLimits, StoreOutput
from jobyard_files.handlers.sweep import Sweep, SweepRules
from jobyard_files.handlers.upload_run import AppendLimits
from jobyard_files.inbound.app import make_app
from jobyard_files.inbound.internal import InternalEndpoints
from jobyard_files.inbound.reads import ReadEndpoints
from jobyard_files.inbound.timers import SweepTimer, UploadGate
from jobyard_files.inbound.tus import TusEndpoints
from jobyard_files.outbound.database import DatabaseProbe
from jobyard_files.outbound.disk import Disk
from jobyard_files.outbound.executor import ExecutorCommits
from jobyard_files.settings import Settings

SERVICE = "files"
# Outputs are readable by their links at once; only the release of holds waits, and batches grow with the load.
EVENTS_PACE_S, EVENTS_LONGEST_S = 0.1, 0.5


def run_migrations(settings: Settings) -> None:
    migrate(settings.postgres_dsn, package="jobyard_files", schema=SERVICE)


async def serve(settings: Settings) -> int:
    """Run until a signal; returns the exit code."""
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
    pool = await create_pool(settings.postgres_dsn, application_name=instance, max_size=settings.postgres_pool_size)
    kafka = KafkaSettings(settings.kafka_bootstrap, instance, settings.topic_prefix)
    publisher = Publisher(kafka, idempotent=settings.kafka_idempotence)
    relay = Relay(pool, publisher, tracer=tracer, lock_name="files.outbox")
    threads = ThreadPoolExecutor(settings.io_threads, thread_name_prefix="files-io")
    disk = Disk(settings.data_dir)
    disk.prepare()
    executor = InternalClient(settings.executor_url, token)
    commits = ExecutorCommits(executor)

    live = LiveUploads()
    sealer = Sealer(pool, disk, threads, relay=relay)
    find = FindFile(pool, commits, relay=relay, clock=clock)
    life = timedelta(seconds=settings.upload_life_s)
    create = CreateUpload(
        pool,
        disk,
        sealer=sealer,
        relay=relay,
        clock=clock,
        cell=settings.cell,
        life=life,
        floor_bytes=settings.disk_floor_bytes,
        max_open=settings.max_open_uploads,
    )
    limits = AppendLimits(
        max_size=settings.max_upload_bytes,
        checkpoint_bytes=settings.checkpoint_bytes,
        idle_s=settings.upload_idle_s,
        life=life,
    )
    append = AppendUpload(pool, disk, threads, find=find, live=live, sealer=sealer, clock=clock, limits=limits)
    delete = DeleteFile(pool, disk, threads, find=find, live=live, relay=relay, clock=clock)
    store = StoreOutput(
        pool,
        disk,
        threads,
        live=live,
        relay=relay,
        clock=clock,
        cell=settings.cell,
        limits=OutputLimits(),
        idle_s=settings.upload_idle_s,
    )
    rules = SweepRules(
        held=timedelta(seconds=settings.held_outputs_s),
        unused_blob=timedelta(seconds=settings.unused_blob_s),
        orphan_part=timedelta(seconds=settings.orphan_part_s),
        orphan_blob=timedelta(seconds=settings.orphan_blob_s),
        tombstone=timedelta(seconds=settings.tombstone_s),
    )
    sweep = Sweep(pool, disk, threads, commits=commits, relay=relay, clock=clock, rules=rules)
    consumer = Follower(
        kafka,
        topic=JOBS_EVENTS,
        group=SERVICE,
        instance_id=instance,
        pool=pool,
        apply=ReleaseOutputs(),
        tracer=tracer,
        max_records=5000,
        pace_s=EVENTS_PACE_S,
        longest_s=EVENTS_LONGEST_S,
        wanted=concerns_files,
        after_commit=relay.wake,
    )

    def disk_check() -> Check:
        free = disk.free_bytes()
        if free < settings.disk_floor_bytes:
            return Check("degraded", f"{free} bytes are free on the disk; uploads are refused", critical=False)
        return Check("ok")

    readiness = Readiness()
    probe = DatabaseProbe(pool)
    for name, check in (
        ("postgres", probe.check),
        ("kafka", publisher.check),
        ("outbox", relay.check),
        (f"consumer {JOBS_EVENTS.name}", consumer.check),
        ("disk", disk_check),
    ):
        readiness.register(name, check)
    app = make_app(
        tus=TusEndpoints(
            create=create,
            append=append,
            locate=LocateOffset(pool, disk, threads, find=find, live=live),
            delete=delete,
            max_size=settings.max_upload_bytes,
            public_url=settings.public_url,
        ),
        reads=ReadEndpoints(
            find=find,
            listing=ListFiles(pool),
            content=ReadContent(disk, threads),
            threads=threads,
            public_url=settings.public_url,
        ),
        internal=InternalEndpoints(store=store, find=find),
        readiness=readiness,
        tracer=tracer,
        token=token,
    )
    components = [
        probe,
        publisher,
        Shipping(publisher, readiness, service=SERVICE, instance=instance, version=version("jobyard-files"), logs=logs),
        relay,
        consumer,
        sealer,
        SweepTimer(sweep, every_s=settings.sweep_every_s),
        HttpServer(app, host=settings.http_host, port=settings.http_port),
        UploadGate(live),
    ]
    try:
        return await run_service(components, readiness=readiness)
    finally:
        await executor.close()
        await pool.close()
        threads.shutdown(wait=True)
        tracer.shutdown()
