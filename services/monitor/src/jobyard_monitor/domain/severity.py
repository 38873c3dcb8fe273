"""Levels by name and by OpenTelemetry's severity number."""

from __future__ import annotations

NUMBERS = {"trace": 1, "debug": 5, "info": 9, "warning": 13, "warn": 13, "error": 17, "critical": 21, "fatal": 21}
INFO, ERROR = 9, 17
LEVELS = ("trace", "debug", "info", "warning", "error", "critical")


def severity_of(level: str) -> int:
    """The severity number of a level; a word nobody knows counts as `info`."""
    return NUMBERS.get(level.lower(), INFO)
