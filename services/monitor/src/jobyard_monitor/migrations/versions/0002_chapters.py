"""What one batch told of a job becomes one row, a chapter, instead of a row for each event.

Timelines written before stay where they are and are read beside the chapters until their days are dropped; a program
of the version before may go on writing them. `job_step` shows both as one, for people and checks: each step once.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    # No unique key: an event that was sent twice may stand in two chapters, and readers take each step once.
    """
    CREATE TABLE chapter (
        tenant text NOT NULL,
        job_id text COLLATE "C" NOT NULL,
        job_created_at timestamptz NOT NULL,
        incarnation bigint NOT NULL,
        event_no bigint NOT NULL,
        steps text NOT NULL
    ) PARTITION BY RANGE (job_created_at)
    """,
    "CREATE INDEX chapter_by_job ON chapter (job_id)",
    "CREATE TABLE chapter_default PARTITION OF chapter DEFAULT",
    """
    CREATE VIEW job_step AS
    SELECT tenant, job_id, incarnation, event_no, at, type, state, reason, attempt, actor_kind, actor_id, worker,
           wait_ms, run_ms, error, output_seq FROM timeline
    UNION
    SELECT tenant, job_id, (step ->> 1)::bigint, (step ->> 2)::bigint, (step ->> 0)::timestamptz,
           'jobyard.job.' || (step ->> 3) || '.v1', step ->> 4, step ->> 5, (step ->> 6)::integer, step ->> 7,
           step ->> 8, step ->> 9, (step ->> 10)::bigint, (step ->> 11)::bigint, nullif((step -> 12)::text, 'null'),
           (step ->> 13)::bigint
    FROM chapter, json_array_elements(steps::json) AS step
    """,
)
BACK = """
INSERT INTO timeline (tenant, job_id, incarnation, event_no, job_created_at, at, type, state, reason, attempt,
                      actor_kind, actor_id, worker, wait_ms, run_ms, error, output_seq)
SELECT tenant, job_id, s.incarnation, s.event_no, (SELECT min(job_created_at) FROM chapter c WHERE c.job_id = s.job_id),
       at, type, state, reason, attempt, actor_kind, actor_id, worker, wait_ms, run_ms, error, output_seq
FROM job_step s WHERE EXISTS (SELECT FROM chapter c WHERE c.job_id = s.job_id)
ON CONFLICT DO NOTHING
"""


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute(BACK)
    op.execute("DROP VIEW job_step")
    op.execute("DROP TABLE chapter")
