"""Schema `files`."""
