"""Schedules and their fires."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UP: tuple[str, ...] = (
    "ALTER TABLE job ADD COLUMN schedule_id text",
    """
    CREATE TABLE schedule (
        id text COLLATE "C" PRIMARY KEY,
        tenant text NOT NULL,
        version integer NOT NULL DEFAULT 1,
        name text NOT NULL,
        template text NOT NULL,
        spec text NOT NULL,
        cron text,
        timezone text,
        interval_s double precision,
        at timestamptz,
        overlap text NOT NULL,
        catch_up text NOT NULL,
        starts_at timestamptz,
        ends_at timestamptz,
        jitter_s double precision NOT NULL DEFAULT 0,
        paused boolean NOT NULL DEFAULT false,
        anchor timestamptz NOT NULL,
        secret bytea NOT NULL,
        created_at timestamptz NOT NULL,
        created_by text NOT NULL,
        changed_at timestamptz NOT NULL,
        made_hash text,
        next_at timestamptz,
        waiting boolean NOT NULL DEFAULT false,
        looked_at timestamptz NOT NULL,
        last_fire_at timestamptz,
        last_outcome text,
        last_job_id text
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX schedule_list ON schedule (tenant, created_at DESC, id DESC)",
    "CREATE INDEX schedule_due ON schedule (next_at) WHERE next_at IS NOT NULL AND NOT paused",
    "CREATE INDEX schedule_waiting ON schedule (looked_at) WHERE waiting",
    """
    CREATE TABLE schedule_fire (
        schedule_id text COLLATE "C" NOT NULL REFERENCES schedule (id) ON DELETE CASCADE,
        fire_at timestamptz NOT NULL,
        kind text NOT NULL,
        outcome text NOT NULL,
        reason text,
        until timestamptz,
        recorded_at timestamptz NOT NULL,
        job_id text,
        overlap text NOT NULL,
        open boolean NOT NULL DEFAULT false,
        PRIMARY KEY (schedule_id, fire_at)
    )
    """,
    "CREATE INDEX schedule_fire_waiting ON schedule_fire (schedule_id, fire_at) WHERE outcome = 'waiting'",
    "CREATE INDEX schedule_fire_open ON schedule_fire (schedule_id) WHERE open",
    "CREATE INDEX schedule_fire_age ON schedule_fire (recorded_at)",
)
DOWN: tuple[str, ...] = (
    "DROP TABLE schedule_fire",
    "DROP TABLE schedule",
    "ALTER TABLE job DROP COLUMN schedule_id",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
