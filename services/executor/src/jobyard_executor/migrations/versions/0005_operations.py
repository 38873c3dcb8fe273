"""Bulk operations and dead letters."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UP: tuple[str, ...] = (
    """
    CREATE TABLE bulk_operation (
        id text COLLATE "C" PRIMARY KEY,
        tenant text NOT NULL,
        action text NOT NULL,
        filter text,
        ids text[],
        options text NOT NULL,
        rate_per_s double precision,
        state text NOT NULL,
        actor text NOT NULL,
        note text,
        correlation_id text NOT NULL,
        traceparent text NOT NULL,
        created_at timestamptz NOT NULL,
        made_hash text,
        matched integer NOT NULL,
        matched_capped boolean NOT NULL,
        seen integer NOT NULL DEFAULT 0,
        applied integer NOT NULL DEFAULT 0,
        refused text NOT NULL DEFAULT '{}',
        sample text NOT NULL DEFAULT '[]',
        cursor_at timestamptz,
        cursor_id text COLLATE "C",
        due_at timestamptz NOT NULL,
        finished_at timestamptz
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX bulk_operation_list ON bulk_operation (tenant, created_at DESC, id DESC)",
    "CREATE INDEX bulk_operation_due ON bulk_operation (due_at) WHERE state = 'running'",
    """
    CREATE TABLE dead_letter (
        job_id text COLLATE "C" PRIMARY KEY,
        tenant text NOT NULL,
        action text NOT NULL,
        new_job_id text,
        note text,
        actor text NOT NULL,
        at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX dead_letter_age ON dead_letter (at)",
    """
    CREATE TABLE dead_message (
        topic text NOT NULL,
        partition integer NOT NULL,
        position bigint NOT NULL,
        fingerprint bytea NOT NULL,
        action text NOT NULL,
        edited boolean NOT NULL,
        note text,
        actor text NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (topic, partition, position, fingerprint)
    )
    """,
    "CREATE INDEX dead_message_age ON dead_message (at)",
)
DOWN: tuple[str, ...] = ("DROP TABLE dead_message", "DROP TABLE dead_letter", "DROP TABLE bulk_operation")


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
