"""Starting, stopping, time and settings."""
