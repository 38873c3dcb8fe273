"""Kafka, once: publishing, consuming with offsets in PostgreSQL, the outbox."""
