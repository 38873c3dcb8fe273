"""What happened: timelines, logs, counts, system status."""

from importlib.metadata import version

__version__ = version("jobyard-monitor")
