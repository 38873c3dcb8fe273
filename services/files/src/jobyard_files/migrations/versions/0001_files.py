"""Files, the blobs that they share, the inputs that jobs hold, offsets and outbox."""

from __future__ import annotations

from alembic import op
from jobyard_common.db.tables import ALL

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

FILE = """
CREATE TABLE file (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    name text NOT NULL,
    content_type text NOT NULL,
    size bigint CHECK (size >= 0),
    received bigint NOT NULL DEFAULT 0 CHECK (received >= 0 AND (size IS NULL OR received <= size)),
    sha256 text CHECK (length(sha256) = 64),
    state text NOT NULL CHECK (state IN ('uploading', 'hashing', 'held', 'ready', 'deleted', 'expired')),
    created_at timestamptz NOT NULL,
    completed_at timestamptz,
    expires_at timestamptz,
    gone_at timestamptz,
    job_id text,
    attempt integer,
    fence bigint,
    upload_metadata text NOT NULL DEFAULT '',
    writer_epoch bigint NOT NULL DEFAULT 0,
    event_no integer NOT NULL DEFAULT 0,
    actor_kind text NOT NULL,
    actor_id text NOT NULL,
    correlation_id text NOT NULL,
    traceparent text NOT NULL,
    CHECK ((state IN ('held', 'ready')) <= (sha256 IS NOT NULL AND size IS NOT NULL))
) WITH (fillfactor = 80)
"""
INDEXES = (
    "CREATE INDEX file_listed ON file (tenant, id DESC) WHERE state IN ('uploading', 'hashing', 'ready')",
    "CREATE INDEX file_of_job ON file (job_id, attempt, fence) WHERE job_id IS NOT NULL",
    "CREATE INDEX file_by_content ON file (sha256) WHERE state IN ('held', 'ready')",
    "CREATE INDEX file_open ON file (expires_at) WHERE state = 'uploading'",
    "CREATE INDEX file_open_of_tenant ON file (tenant) WHERE state = 'uploading'",
    "CREATE INDEX file_hashing ON file (id) WHERE state = 'hashing'",
    "CREATE INDEX file_held ON file (created_at) WHERE state = 'held'",
    "CREATE INDEX file_gone ON file (gone_at) WHERE state IN ('deleted', 'expired')",
)
BLOB = """
CREATE TABLE blob (
    sha256 text PRIMARY KEY CHECK (length(sha256) = 64),
    size bigint NOT NULL,
    state text NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'deleting')),
    touched_at timestamptz NOT NULL DEFAULT now()
)
"""
INPUT_HOLD = """
CREATE TABLE input_hold (
    file_id text NOT NULL,
    job_id text NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (file_id, job_id)
)
"""


def upgrade() -> None:
    for statement in (*ALL, FILE, *INDEXES, BLOB, INPUT_HOLD):
        op.execute(statement)
    op.execute("CREATE INDEX input_hold_job ON input_hold (job_id)")
    op.execute("CREATE INDEX blob_leaving ON blob (touched_at)")


def downgrade() -> None:
    for table in ("input_hold", "blob", "file", "outbox_dead", "outbox", "consumer_offset"):
        op.execute(f"DROP TABLE {table}")
