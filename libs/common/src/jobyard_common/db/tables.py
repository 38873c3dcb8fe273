"""Tables that every service with a consumer or an outbox has, as SQL for its first migration.

The order in which transactions take locks is the same everywhere: consumer_offset, worker, limit, job (by id), lease,
ready, dedupe, pending children (by id), outbox.
"""

from __future__ import annotations

CONSUMER_OFFSET_SQL = """
CREATE TABLE consumer_offset (
    cluster_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next bigint NOT NULL,
    fingerprint bytea,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, cluster_id)
) WITH (fillfactor = 50)
"""

OUTBOX_SQL = """
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bucket smallint NOT NULL,
    topic text NOT NULL,
    key bytea,
    value bytea,
    headers bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
"""

DEAD_LETTER_SQL = """
CREATE TABLE outbox_dead (
    id bigint PRIMARY KEY,
    topic text NOT NULL,
    key bytea,
    value bytea,
    headers bytea NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now()
)
"""

ALL = (CONSUMER_OFFSET_SQL, OUTBOX_SQL, DEAD_LETTER_SQL)
