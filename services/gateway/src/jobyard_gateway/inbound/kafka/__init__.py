"""The topics that we read."""
