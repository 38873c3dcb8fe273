"""Read models, archives of output and logs, and where their consumers stand."""

from __future__ import annotations

from alembic import op
from jobyard_common.db import tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    *tables.ALL,
    # Keyed by the job's birth, which never changes: a unique key over partitions needs such a column.
    """
    CREATE TABLE timeline (
        tenant text NOT NULL,
        job_id text COLLATE "C" NOT NULL,
        incarnation bigint NOT NULL,
        event_no bigint NOT NULL,
        job_created_at timestamptz NOT NULL,
        at timestamptz NOT NULL,
        type text NOT NULL,
        state text NOT NULL,
        reason text,
        attempt integer NOT NULL,
        actor_kind text NOT NULL,
        actor_id text NOT NULL,
        worker text,
        wait_ms bigint,
        run_ms bigint,
        error text,
        output_seq bigint NOT NULL,
        PRIMARY KEY (job_id, incarnation, event_no, job_created_at)
    ) PARTITION BY RANGE (job_created_at)
    """,
    "CREATE TABLE timeline_default PARTITION OF timeline DEFAULT",
    """
    CREATE TABLE job_state (
        job_id text COLLATE "C" PRIMARY KEY,
        tenant text NOT NULL,
        incarnation bigint NOT NULL,
        event_no bigint NOT NULL,
        tool text NOT NULL,
        state text NOT NULL,
        reason text,
        dead boolean NOT NULL,
        created_at timestamptz NOT NULL,
        finished_at timestamptz,
        wait_ms bigint,
        run_ms bigint,
        correlation_id text NOT NULL,
        trace_id text NOT NULL,
        files text NOT NULL,
        changed_at timestamptz NOT NULL
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX job_state_live ON job_state (tenant, state, tool) WHERE finished_at IS NULL",
    "CREATE INDEX job_state_finished ON job_state (tenant, finished_at) WHERE finished_at IS NOT NULL",
    "CREATE INDEX job_state_age ON job_state USING brin (finished_at) WITH (pages_per_range = 32)",
    # A producer that sent twice is seen by readers, who take each number once; a unique key would forbid plain COPY.
    """
    CREATE TABLE job_log (
        tenant text NOT NULL,
        job_id text COLLATE "C" NOT NULL,
        seq bigint NOT NULL,
        at timestamptz NOT NULL,
        attempt integer NOT NULL,
        stream text NOT NULL,
        level text,
        message text NOT NULL,
        fields text,
        late boolean NOT NULL
    ) PARTITION BY RANGE (at)
    """,
    "CREATE INDEX job_log_by_job ON job_log (job_id, seq)",
    "CREATE TABLE job_log_default PARTITION OF job_log DEFAULT",
    """
    CREATE TABLE job_progress (
        job_id text COLLATE "C" PRIMARY KEY,
        tenant text NOT NULL,
        attempt integer NOT NULL,
        seq bigint NOT NULL,
        at timestamptz NOT NULL,
        progress text NOT NULL
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX job_progress_age ON job_progress USING brin (at) WITH (pages_per_range = 32)",
    """
    CREATE TABLE file_timeline (
        tenant text NOT NULL,
        file_id text COLLATE "C" NOT NULL,
        event_no bigint NOT NULL,
        at timestamptz NOT NULL,
        type text NOT NULL,
        state text NOT NULL,
        name text NOT NULL,
        size bigint NOT NULL,
        content_type text NOT NULL,
        sha256 text,
        job_id text COLLATE "C",
        actor_kind text NOT NULL,
        actor_id text NOT NULL,
        PRIMARY KEY (file_id, event_no)
    )
    """,
    "CREATE INDEX file_timeline_by_job ON file_timeline (job_id) WHERE job_id IS NOT NULL",
    "CREATE INDEX file_timeline_age ON file_timeline USING brin (at) WITH (pages_per_range = 32)",
    # (kp, ko, ki) = Kafka partition, offset, index in the record: provenance, and the tie-break of the reading order.
    """
    CREATE TABLE service_log (
        at timestamptz NOT NULL,
        kp integer NOT NULL,
        ko bigint NOT NULL,
        ki integer NOT NULL,
        tenant text NOT NULL,
        service text NOT NULL,
        instance text NOT NULL,
        level text NOT NULL,
        severity smallint NOT NULL,
        event text NOT NULL,
        message text NOT NULL,
        logger text NOT NULL,
        trace_id text,
        span_id text,
        correlation_id text,
        job_id text COLLATE "C",
        exception text,
        fingerprint text,
        fields text
    ) PARTITION BY RANGE (at)
    """,
    "CREATE INDEX service_log_by_time ON service_log (at, kp, ko, ki)",
    "CREATE INDEX service_log_by_correlation ON service_log (correlation_id) WHERE correlation_id IS NOT NULL",
    "CREATE INDEX service_log_by_job ON service_log (job_id) WHERE job_id IS NOT NULL",
    "CREATE INDEX service_log_errors ON service_log (at) WHERE severity >= 17",
    "CREATE TABLE service_log_default PARTITION OF service_log DEFAULT",
    """
    CREATE TABLE service (
        service text NOT NULL,
        instance text NOT NULL,
        version text NOT NULL,
        started_at timestamptz NOT NULL,
        at timestamptz NOT NULL,
        status text NOT NULL,
        checks text NOT NULL,
        facts text NOT NULL,
        PRIMARY KEY (service, instance)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE audit (
        id text COLLATE "C" PRIMARY KEY,
        at timestamptz NOT NULL,
        tenant text NOT NULL,
        actor_kind text NOT NULL,
        actor_id text NOT NULL,
        action text NOT NULL,
        target text NOT NULL,
        outcome text NOT NULL,
        detail text NOT NULL,
        correlation_id text NOT NULL,
        trace_id text NOT NULL
    )
    """,
    "CREATE INDEX audit_by_time ON audit (tenant, at, id)",
    "CREATE INDEX audit_age ON audit USING brin (at) WITH (pages_per_range = 32)",
)
TABLES = (
    "audit",
    "service",
    "service_log",
    "file_timeline",
    "job_progress",
    "job_log",
    "job_state",
    "timeline",
    "outbox_dead",
    "outbox",
    "consumer_offset",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
