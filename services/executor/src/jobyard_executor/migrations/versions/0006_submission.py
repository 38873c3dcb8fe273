"""What a submit may ask for beyond one plain job; what a lifecycle row says of its place in the stream.

`job.twin_id` names the job that answers for this one: the one that took its place (superseded), or the earlier one
whose result it was given (result cache). `dedupe.at` orders the submits of a debounced key. `prune_cursor` is how far
each rule of a shorter retention has looked through the history.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UP: tuple[str, ...] = (
    "ALTER TABLE lifecycle ADD COLUMN output_seq bigint, ADD COLUMN incarnation bigint",
    "ALTER TABLE job ADD COLUMN twin_id text",
    "ALTER TABLE dedupe ADD COLUMN mode text NOT NULL DEFAULT 'while_active', ADD COLUMN at timestamptz",
    "CREATE INDEX dedupe_lapsed ON dedupe (until) WHERE until IS NOT NULL",
    """
    CREATE TABLE result_cache (
        tenant text NOT NULL,
        key text NOT NULL,
        job_id text COLLATE "C" NOT NULL,
        until timestamptz NOT NULL,
        PRIMARY KEY (tenant, key)
    )
    """,
    "CREATE INDEX result_cache_lapsed ON result_cache (until)",
    "CREATE INDEX blocked_age ON blocked (since)",
    'CREATE TABLE prune_cursor (name text PRIMARY KEY, job_id text COLLATE "C" NOT NULL)',
)
DOWN: tuple[str, ...] = (
    "DROP TABLE prune_cursor",
    "DROP INDEX blocked_age",
    "DROP TABLE result_cache",
    "DROP INDEX dedupe_lapsed",
    "ALTER TABLE dedupe DROP COLUMN mode, DROP COLUMN at",
    "ALTER TABLE job DROP COLUMN twin_id",
    "ALTER TABLE lifecycle DROP COLUMN output_seq, DROP COLUMN incarnation",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
