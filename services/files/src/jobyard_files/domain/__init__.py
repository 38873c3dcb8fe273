"""What a file is and which requests about it make sense; no clock, no disk, no network."""
