"""What the engine does, one use case a file."""
