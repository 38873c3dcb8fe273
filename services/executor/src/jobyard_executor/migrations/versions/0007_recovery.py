"""What recovery after a restore or a loss needs to remember.

`epoch`: the lives of this database and when each was seen first. `recovery.added` raises the epoch above the WAL
timeline after a restore that the timeline does not show; `system_identifier` is that of the cluster we were made or
recovered in.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UP: tuple[str, ...] = (
    """
    CREATE TABLE recovery (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        added bigint NOT NULL DEFAULT 0,
        system_identifier bigint NOT NULL
    )
    """,
    "INSERT INTO recovery (system_identifier) SELECT system_identifier FROM pg_control_system()",
    """
    CREATE TABLE epoch (
        epoch bigint PRIMARY KEY,
        first_seen timestamptz NOT NULL DEFAULT clock_timestamp(),
        cause text NOT NULL
    )
    """,
    """
    INSERT INTO epoch (epoch, first_seen, cause)
    SELECT ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint,
        clock_timestamp() - interval '1 day', 'installed'
    """,
)
DOWN: tuple[str, ...] = ("DROP TABLE epoch", "DROP TABLE recovery")


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
