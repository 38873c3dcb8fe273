"""What wakes monitor: HTTP, Kafka, timers."""
