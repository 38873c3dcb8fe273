"""JSON lines on stdout: one event, one line, constant names; secrets are removed before anything is written."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, MutableMapping
from typing import Any, cast

import msgspec
import structlog

from jobyard_common.contracts.wire import rfc3339, utc_now
from jobyard_common.telemetry.context import current_correlation, current_trace

Event = MutableMapping[str, Any]
_SECRET_PARTS = ("password", "secret", "token", "authorization", "api_key", "apikey", "dsn", "cookie")
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_encoder = msgspec.json.Encoder(enc_hook=str)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    return cast(structlog.stdlib.BoundLogger, structlog.get_logger(component=name))


def configure(service: str, *, instance: str, level: str, ship: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Set up logging of this process; `ship` also gets every record and must neither wait nor raise."""

    def stamp(_logger: Any, _method: str, event: Event) -> Event:
        trace = current_trace.get()
        head: Event = {"at": rfc3339(utc_now()), "level": event.pop("level", "info"), "service": service}
        head["instance"] = instance
        if trace is not None:
            head["trace_id"], head["span_id"] = trace.trace_id, trace.span_id
        if correlation := current_correlation.get():
            head["correlation_id"] = correlation
        head.update(event)
        return head

    def deliver(_logger: Any, _method: str, event: Event) -> str:
        if ship is not None:
            ship(dict(event))
        return _encoder.encode(event).decode()

    structlog.configure(
        processors=[structlog.stdlib.add_log_level, _exception, _redact, stamp, deliver],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Bridge()], level=_LEVELS["warning"], force=True)
    # It repeats itself ten times a second while a broker is away; our own loops say once what it means.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)


def _exception(_logger: Any, _method: str, event: Event) -> Event:
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()[1]
    if isinstance(info, tuple):
        info = info[1]
    if isinstance(info, BaseException):
        event["exception"] = "".join(traceback.format_exception(info))[-8192:]
    return event


def _redact(_logger: Any, _method: str, event: Event) -> Event:
    for name in event:
        if any(part in name.lower() for part in _SECRET_PARTS):
            event[name] = "[redacted]"
    return event


class _Bridge(logging.Handler):
    """Records of libraries, as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"message": record.getMessage()[:4096]}
        if record.exc_info and record.exc_info[1] is not None:
            fields["exc_info"] = record.exc_info[1]
        log = get_logger(record.name)
        method = log.error if record.levelno >= logging.ERROR else log.warning
        method("library.message", **fields)
