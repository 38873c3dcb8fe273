"""FastStream's broker: lifecycle and subscribers of small topics, where each start reads the whole topic again.

Nothing that must not be lost goes through it: its acknowledgement policies commit before or without the effect.
"""

from __future__ import annotations

from faststream.kafka import KafkaBroker

from jobyard_common.messaging.kafka import KafkaSettings


def make_broker(kafka: KafkaSettings) -> KafkaBroker:
    """A broker that is started and stopped by its owner; no handler runs before `start`."""
    return KafkaBroker(kafka.bootstrap, client_id=kafka.client_id, graceful_timeout=5.0, logger=None)
