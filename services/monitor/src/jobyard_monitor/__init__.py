"""What happened: timelines, logs, counts, system status."""
