"""Traces, logs, metrics and heartbeats."""
