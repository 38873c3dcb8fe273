"""What wakes us: HTTP and Kafka."""
