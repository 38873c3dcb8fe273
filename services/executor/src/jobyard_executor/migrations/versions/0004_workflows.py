"""Workflows, their runs and steps."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UP: tuple[str, ...] = (
    "ALTER TABLE job ADD COLUMN place text",
    """
    CREATE TABLE workflow (
        workflow_id text COLLATE "C" PRIMARY KEY,
        tenant text NOT NULL,
        name text NOT NULL,
        version integer NOT NULL,
        description text NOT NULL,
        graph text NOT NULL,
        hash text NOT NULL,
        steps integer NOT NULL,
        actor text NOT NULL,
        created_at timestamptz NOT NULL,
        deleted_at timestamptz,
        UNIQUE (tenant, name, version)
    )
    """,
    "CREATE INDEX workflow_newest ON workflow (tenant, created_at DESC, workflow_id DESC)",
    """
    CREATE TABLE workflow_run (
        run_id text COLLATE "C" PRIMARY KEY,
        tenant text NOT NULL,
        workflow_id text,
        name text NOT NULL,
        version integer,
        state text NOT NULL,
        error text,
        graph text,
        input text NOT NULL,
        actor text NOT NULL,
        correlation_id text NOT NULL,
        traceparent text NOT NULL,
        origin_id text,
        again text,
        created_at timestamptz NOT NULL,
        started_at timestamptz,
        finished_at timestamptz,
        steps integer NOT NULL DEFAULT 0,
        steps_open integer NOT NULL DEFAULT 0,
        jobs integer NOT NULL DEFAULT 0,
        jobs_open integer NOT NULL DEFAULT 0,
        failures integer NOT NULL DEFAULT 0
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX workflow_run_newest ON workflow_run (tenant, created_at DESC, run_id DESC)",
    "CREATE INDEX workflow_run_open ON workflow_run (created_at) WHERE finished_at IS NULL",
    "CREATE INDEX workflow_run_finished ON workflow_run (finished_at) WHERE finished_at IS NOT NULL",
    """
    CREATE TABLE workflow_step (
        run_id text COLLATE "C" NOT NULL,
        no integer NOT NULL,
        state text NOT NULL,
        reason text,
        pending integer NOT NULL,
        demand smallint NOT NULL DEFAULT 0,
        job_id text,
        total integer,
        open integer NOT NULL DEFAULT 0,
        bad integer NOT NULL DEFAULT 0,
        error text,
        PRIMARY KEY (run_id, no)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE workflow_item (
        run_id text COLLATE "C" NOT NULL,
        no integer NOT NULL,
        n integer NOT NULL,
        state text NOT NULL,
        reason text,
        job_id text,
        error text,
        value text NOT NULL,
        PRIMARY KEY (run_id, no, n)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE workflow_todo (
        run_id text COLLATE "C" PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
)
DOWN: tuple[str, ...] = (
    "DROP TABLE workflow_todo, workflow_item, workflow_step, workflow_run, workflow",
    "ALTER TABLE job DROP COLUMN place",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
