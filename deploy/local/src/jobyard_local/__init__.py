"""The local stack: Apache Kafka, PostgreSQL, Valkey and the four services by one command."""
