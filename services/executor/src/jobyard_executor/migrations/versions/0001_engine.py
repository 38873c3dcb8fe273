"""The job engine: jobs, the queue, leases, attempts, results.

History (job, job_list, job_done, attempt, result, lifecycle) is partitioned by the time prefix of the job id, so that
it is dropped, never deleted row by row, and so that one primary key holds over all days. Keyed ids carry no time and
have a partition of their own. Ids compare as bytes.
"""

from alembic import op
from jobyard_common.db.tables import ALL

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PARTITIONED = ("job", "job_list", "job_done", "attempt", "result", "lifecycle")

TABLES = (
    """
    CREATE TABLE job (
        job_id text COLLATE "C" PRIMARY KEY,
        tenant text NOT NULL,
        state text NOT NULL,
        reason text,
        dead boolean NOT NULL DEFAULT false,
        event_no integer NOT NULL,
        born_ms bigint NOT NULL,
        attempt integer NOT NULL DEFAULT 0,
        failures integer NOT NULL DEFAULT 0,
        lost integer NOT NULL DEFAULT 0,
        interrupted integer NOT NULL DEFAULT 0,
        fence bigint NOT NULL DEFAULT 0,
        session text,
        worker text,
        created_at timestamptz NOT NULL,
        run_at timestamptz,
        queued_at timestamptz,
        started_at timestamptz,
        finished_at timestamptz,
        output_seq bigint NOT NULL DEFAULT 0,
        pending integer NOT NULL DEFAULT 0,
        timers boolean NOT NULL DEFAULT false,
        correlation_id text NOT NULL,
        traceparent text NOT NULL,
        run_trace text,
        origin_id text,
        parent_id text,
        actor text NOT NULL,
        spec text NOT NULL,
        error text,
        progress text
    ) PARTITION BY RANGE (job_id)
    """,
    """
    CREATE TABLE job_list (
        job_id text COLLATE "C" NOT NULL,
        tenant text NOT NULL,
        created_at timestamptz NOT NULL,
        tool text NOT NULL,
        queue text NOT NULL,
        correlation_id text NOT NULL,
        parent_id text,
        origin_id text,
        made_by text,
        labels text[]
    ) PARTITION BY RANGE (job_id)
    """,
    "CREATE INDEX job_list_newest ON job_list (tenant, created_at DESC, job_id DESC)",
    "CREATE INDEX job_list_correlation ON job_list (correlation_id)",
    "CREATE INDEX job_list_parent ON job_list (parent_id) WHERE parent_id IS NOT NULL",
    "CREATE INDEX job_list_origin ON job_list (origin_id) WHERE origin_id IS NOT NULL",
    "CREATE INDEX job_list_labels ON job_list USING gin (labels) WHERE labels IS NOT NULL",
    """
    CREATE TABLE job_done (
        job_id text COLLATE "C" NOT NULL,
        tenant text NOT NULL,
        state text NOT NULL,
        created_at timestamptz NOT NULL,
        finished_at timestamptz NOT NULL
    ) PARTITION BY RANGE (job_id)
    """,
    "CREATE INDEX job_done_newest ON job_done (tenant, state, created_at DESC, job_id DESC)",
    """
    CREATE TABLE attempt (
        job_id text COLLATE "C" NOT NULL,
        attempt integer NOT NULL,
        fence bigint NOT NULL,
        worker text NOT NULL,
        verdict text NOT NULL,
        started_at timestamptz NOT NULL,
        finished_at timestamptz NOT NULL,
        run_ms bigint NOT NULL,
        return_code integer,
        error text,
        PRIMARY KEY (job_id, attempt)
    ) PARTITION BY RANGE (job_id)
    """,
    """
    CREATE TABLE result (
        job_id text COLLATE "C" PRIMARY KEY,
        attempt integer NOT NULL,
        value text,
        return_code integer,
        stdout text NOT NULL,
        stderr text NOT NULL,
        truncated boolean NOT NULL,
        files text NOT NULL,
        run_ms bigint
    ) PARTITION BY RANGE (job_id)
    """,
    """
    CREATE TABLE lifecycle (
        job_id text COLLATE "C" NOT NULL,
        event_no integer NOT NULL,
        at timestamptz NOT NULL,
        type text NOT NULL,
        state text,
        reason text,
        attempt integer NOT NULL,
        actor text NOT NULL,
        data text,
        PRIMARY KEY (job_id, event_no)
    ) PARTITION BY RANGE (job_id)
    """,
    """
    CREATE TABLE ready (
        job_id text COLLATE "C" PRIMARY KEY,
        lane text COLLATE "C" NOT NULL,
        sort_at timestamptz NOT NULL,
        tenant text NOT NULL,
        expires_at timestamptz
    )
    """,
    "CREATE INDEX ready_order ON ready (lane, sort_at, job_id)",
    """
    CREATE TABLE lease (
        job_id text COLLATE "C" PRIMARY KEY,
        fence bigint NOT NULL,
        session text NOT NULL,
        claim_id text NOT NULL,
        claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        tenant text NOT NULL,
        queue text NOT NULL,
        tool text NOT NULL,
        concurrency text,
        attempt integer NOT NULL,
        started_at timestamptz NOT NULL,
        progress text
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX lease_concurrency ON lease (concurrency) WHERE concurrency IS NOT NULL",
    """
    CREATE TABLE timer (
        job_id text COLLATE "C" NOT NULL,
        kind text NOT NULL,
        fire_at timestamptz NOT NULL,
        PRIMARY KEY (job_id, kind)
    )
    """,
    "CREATE INDEX timer_due ON timer (fire_at)",
    """
    CREATE TABLE worker (
        session text PRIMARY KEY,
        instance text NOT NULL,
        host text NOT NULL,
        boot_id text NOT NULL,
        pid integer NOT NULL,
        process_start bigint NOT NULL,
        started_at timestamptz NOT NULL,
        beat_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        beat bigint NOT NULL DEFAULT 0,
        reaped boolean NOT NULL DEFAULT false,
        tools text[] NOT NULL,
        levels text[] NOT NULL,
        slots text NOT NULL
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE "limit" (
        key text PRIMARY KEY,
        n integer NOT NULL CHECK (n >= 0),
        declared boolean NOT NULL DEFAULT false
    )
    """,
    """
    CREATE TABLE edge (
        parent_id text COLLATE "C" NOT NULL,
        child_id text COLLATE "C" NOT NULL,
        done boolean NOT NULL DEFAULT false,
        PRIMARY KEY (parent_id, child_id)
    )
    """,
    "CREATE INDEX edge_child ON edge (child_id)",
    """
    CREATE TABLE blocked (
        job_id text COLLATE "C" PRIMARY KEY,
        tenant text NOT NULL,
        since timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE dedupe (
        tenant text NOT NULL,
        key text NOT NULL,
        job_id text COLLATE "C" NOT NULL,
        until timestamptz,
        PRIMARY KEY (tenant, key)
    )
    """,
    "CREATE INDEX dedupe_job ON dedupe (job_id)",
    """
    CREATE TABLE keyed_id (
        job_id text COLLATE "C" PRIMARY KEY,
        tenant text NOT NULL,
        body_hash text NOT NULL,
        outcome text,
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX keyed_id_expiry ON keyed_id (expires_at)",
    """
    CREATE TABLE tombstone (
        job_id text COLLATE "C" PRIMARY KEY,
        tenant text NOT NULL,
        actor text NOT NULL,
        at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE command_seen (
        command_id text COLLATE "C" PRIMARY KEY,
        tenant text NOT NULL,
        outcome text NOT NULL,
        job_id text NOT NULL,
        at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX command_seen_age ON command_seen (at)",
    """
    CREATE TABLE tool_version (
        name text NOT NULL,
        version text NOT NULL,
        hash text NOT NULL,
        definition text NOT NULL,
        retired boolean NOT NULL DEFAULT false,
        seen_at timestamptz NOT NULL,
        PRIMARY KEY (name, version)
    )
    """,
    """
    CREATE TABLE queue (
        name text PRIMARY KEY,
        paused boolean NOT NULL DEFAULT false,
        changed_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE SEQUENCE fence_seq",
)
BUSY = ("ready", "lease", "timer")
SETTINGS = "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0"


def upgrade() -> None:
    for statement in (*ALL, *TABLES):
        op.execute(statement)
    for table in PARTITIONED:
        op.execute(f"CREATE TABLE {table}_other PARTITION OF {table} DEFAULT")
    op.execute("ALTER TABLE job_other SET (fillfactor = 70)")
    for table in BUSY:
        op.execute(f"ALTER TABLE {table} SET ({SETTINGS})")


def downgrade() -> None:
    for table in reversed((*PARTITIONED, *BUSY, "worker", "limit", "edge", "blocked", "dedupe", "keyed_id")):
        op.execute(f'DROP TABLE IF EXISTS "{table}" CASCADE')
    for table in ("tombstone", "command_seen", "tool_version", "queue", "outbox", "outbox_dead", "consumer_offset"):
        op.execute(f"DROP TABLE IF EXISTS {table} CASCADE")
    op.execute("DROP SEQUENCE IF EXISTS fence_seq")
