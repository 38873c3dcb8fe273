"""A waiting job is found by its id through the primary key, whatever size the queue had when that was planned.

The order of a lane ends with the id, too. While the queue is empty, reading all of that index looks as cheap as the
primary key, and a plan that is kept would go on doing so behind a hundred thousand jobs. Under another collation, which
orders ids in the same way, the index serves the order and nothing else.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute('CREATE INDEX ready_turn ON ready (lane, sort_at, job_id COLLATE "POSIX")')
    op.execute("DROP INDEX ready_order")


def downgrade() -> None:
    op.execute("CREATE INDEX ready_order ON ready (lane, sort_at, job_id)")
    op.execute("DROP INDEX ready_turn")
