"""What wakes the service: HTTP, job events, the clock."""
