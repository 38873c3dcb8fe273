"""Which log a topic's name stands for: the ids that its cluster and the topic itself were given when they were made.

Offsets are kept under both, so a topic that somebody deleted and made anew begins at its beginning and is not taken
for one that lost records. aiokafka asks for metadata in a version that has no topic ids yet, so the one request that
knows them (Metadata 12, Apache Kafka 3.0 and later) is described here.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, cast
from uuid import UUID

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from jobyard_common.contracts.topics import Topic
from jobyard_common.messaging.kafka import KafkaSettings

SEPARATOR = "/"


class _Uuid(Int32):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: Any) -> bytes:
        return cast(bytes, value)

    @classmethod
    def decode(cls, data: BytesIO) -> Any:
        return data.read(16)


_text = CompactString("utf-8")
_nodes = CompactArray(Int32)


class _Metadata12Response(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(("node_id", Int32), ("host", _text), ("port", Int32), ("rack", _text),
                                 ("tags", TaggedFields))),
        ("cluster_id", _text),
        ("controller_id", Int32),
        ("topics", CompactArray(
            ("error_code", Int16), ("name", _text), ("topic_id", _Uuid), ("is_internal", Boolean),
            ("partitions", CompactArray(
                ("error_code", Int16), ("index", Int32), ("leader", Int32), ("leader_epoch", Int32),
                ("replicas", _nodes), ("isr", _nodes), ("offline", _nodes), ("tags", TaggedFields))),
            ("authorized_operations", Int32), ("tags", TaggedFields))),
        ("tags", TaggedFields),
    )  # fmt: skip


class _Metadata12Request(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = _Metadata12Response
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _text), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _WhichTopic(Request[_Metadata12Request]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, name: str) -> None:
        self._name = name

    def build(self, request_struct_class: type[_Metadata12Request]) -> _Metadata12Request:
        return request_struct_class([(bytes(16), self._name, {})], False, False, {})


async def identity_of(kafka: KafkaSettings, topic: Topic) -> str:
    """`cluster id/topic id`; the cluster id alone from a broker that is too old to know topic ids.

    Raises:
        KafkaError: the broker is away, or has no such topic.
    """
    client = AIOKafkaClient(
        bootstrap_servers=kafka.bootstrap, client_id=f"{kafka.client_id}-identity", request_timeout_ms=4_000
    )
    try:
        await client.bootstrap()
        node = client.get_random_node()
        try:
            answer = await client.send(node, _WhichTopic(kafka.topic(topic)))
        except (IncompatibleBrokerVersion, NotImplementedError):
            return await cluster_id_of(kafka)
    finally:
        await client.close()
    error, _, topic_id = answer.topics[0][:3]
    if error:
        raise for_code(error)(kafka.topic(topic))
    return f"{answer.cluster_id or 'unknown'}{SEPARATOR}{UUID(bytes=topic_id)}"


async def cluster_id_of(kafka: KafkaSettings) -> str:
    """The id that the cluster was formatted with."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap, client_id=kafka.client_id, request_timeout_ms=4_000)
    try:
        await admin.start()
        described = await admin.describe_cluster()
        return str(described.get("cluster_id") or "unknown")
    finally:
        await admin.close()


def cluster_of(identity: str) -> str:
    return identity.partition(SEPARATOR)[0]
