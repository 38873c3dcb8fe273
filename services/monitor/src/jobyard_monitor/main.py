"""Composition root: everything that runs in this process is made here."""

from __future__ import annotations

import asyncio

from jobyard_common.contracts.topics import topic_name
from jobyard_common.db.migrate import migrate
from jobyard_common.db.pool import create_pool
from jobyard_common.http.context import RequestContextMiddleware
from jobyard_common.http.health import health_routes
from jobyard_common.http.internal import ServiceAuth
from jobyard_common.http.server import HttpServer
from jobyard_common.messaging.kafka import KafkaSettings
from jobyard_common.messaging.outbox import Relay
from jobyard_common.messaging.publisher import Publisher
from jobyard_common.runtime.clock import SystemClock
from jobyard_common.runtime.health import Readiness
from jobyard_common.runtime.supervisor import Component, run_service
from jobyard_common.telemetry.logging import configure
from jobyard_common.telemetry.shipping import LogBuffer, Shipping
from jobyard_common.telemetry.tracing import Tracer

from jobyard_monitor import __version__
from jobyard_monitor.handlers.rebuild import rebuild
from jobyard_monitor.inbound.consumers import consumers
from jobyard_monitor.inbound.http import ReadApi
from jobyard_monitor.inbound.timers import DatabaseWatch, TableKeeper
from jobyard_monitor.outbound.probe import Probe
from jobyard_monitor.settings import Settings

SERVICE = "monitor"
PACKAGE = "jobyard_monitor"
READ_DEADLINE_S = 5.0


async def serve(settings: Settings) -> int:
    """Run until told to stop; returns the exit code."""
    instance, token, logs = settings.instance(SERVICE), settings.token(), LogBuffer()
    configure(SERVICE, instance=instance, level=settings.log_level, ship=logs.add)
    tracer = Tracer(
        SERVICE,
        instance=instance,
        endpoint=settings.otlp_endpoint,
        sampler=settings.traces_sampler,
        sampler_arg=settings.traces_sampler_arg,
    )
    clock, readiness = SystemClock(), Readiness()
    kafka = KafkaSettings(settings.kafka_bootstrap, client_id=instance, topic_prefix=settings.topic_prefix)
    pool = await create_pool(settings.postgres_dsn, application_name=instance, max_size=settings.postgres_pool_size)
    # Readers have connections of their own, so that a slow search never holds back what is written.
    readers = await create_pool(
        settings.postgres_dsn, application_name=f"{instance}-read", max_size=4, command_timeout_s=READ_DEADLINE_S
    )
    probe = Probe(settings.addresses())
    publisher = Publisher(kafka, idempotent=settings.kafka_idempotence)
    relay = Relay(pool, publisher, tracer=tracer, lock_name=f"{SERVICE}-relay")
    watch = DatabaseWatch(readers, package=PACKAGE)
    components: list[Component] = [publisher, watch, relay]
    readiness.register("database", watch.check)
    readiness.register("publisher", publisher.check)
    readiness.register("relay", relay.check)
    if settings.has_role("keeper"):
        keeper = TableKeeper(pool, retention=settings.retention(), clock=clock)
        readiness.register("tables", keeper.check)
        components.append(keeper)
    if settings.has_role("ingest"):
        for loop in consumers(kafka, pool=pool, tracer=tracer, instance_id=instance, wake_relay=relay.wake):
            readiness.register(loop.name, loop.check)
            components.append(loop)
    components.append(
        Shipping(publisher, readiness, service=SERVICE, instance=instance, version=__version__, logs=logs)
    )
    api = ReadApi(readers, ask=probe.ask, clock=clock, operators=settings.operators())
    app = api.app(*health_routes(readiness), reads=settings.has_role("api"))
    guarded = RequestContextMiddleware(ServiceAuth(app, token=token), tracer=tracer, trust_inbound=True)
    components.append(HttpServer(guarded, host=settings.http_host, port=settings.http_port))
    try:
        return await run_service(components, readiness=readiness)
    finally:
        await probe.close()
        await asyncio.gather(readers.close(), pool.close())
        tracer.shutdown()


def run_migrations(settings: Settings) -> None:
    migrate(settings.postgres_dsn, package=PACKAGE, schema=SERVICE)


async def run_rebuild(settings: Settings, *, names: tuple[str, ...]) -> None:
    """Empty the models that these topics fill, and read the topics from their beginnings."""
    pool = await create_pool(settings.postgres_dsn, application_name="monitor-rebuild", max_size=1)
    try:
        async with pool.acquire() as connection:
            await rebuild(
                connection, names=names, on_broker=lambda name: topic_name(name, prefix=settings.topic_prefix)
            )
    finally:
        await pool.close()
