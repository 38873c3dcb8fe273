"""What wakes the engine: commands, workers, timers, HTTP."""
