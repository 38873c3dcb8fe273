"""Queues by configuration, limits of concurrency and rate, workers that drain.

Lanes change their text: they begin with their queue and whom a turn is charged to, so that one walk finds everybody
who waits, however many concurrency keys somebody else spreads over.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UP: tuple[str, ...] = (
    """
    ALTER TABLE queue
        ADD COLUMN draining boolean NOT NULL DEFAULT false,
        ADD COLUMN weight double precision NOT NULL DEFAULT 1 CHECK (weight > 0),
        ADD COLUMN max_waiting integer CHECK (max_waiting >= 0),
        ADD COLUMN declared boolean NOT NULL DEFAULT false,
        ADD COLUMN version bigint NOT NULL DEFAULT 1
    """,
    """
    ALTER TABLE "limit"
        ALTER COLUMN n DROP NOT NULL,
        ADD COLUMN auto boolean NOT NULL DEFAULT false,
        ADD COLUMN rate_n integer CHECK (rate_n > 0),
        ADD COLUMN rate_s double precision CHECK (rate_s > 0),
        ADD COLUMN burst integer CHECK (burst > 0),
        ADD COLUMN next_at timestamptz,
        ADD COLUMN weight double precision CHECK (weight > 0),
        ADD COLUMN version bigint NOT NULL DEFAULT 1,
        ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now()
    """,
    "UPDATE \"limit\" SET auto = true WHERE key LIKE 'key:%'",
    'CREATE INDEX limit_standing ON "limit" (key COLLATE "C") WHERE NOT auto',
    """
    CREATE TABLE route (
        tool text PRIMARY KEY,
        queue text NOT NULL,
        declared boolean NOT NULL DEFAULT false,
        changed_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE TABLE drained (instance text PRIMARY KEY, since timestamptz NOT NULL DEFAULT now())",
    """
    ALTER TABLE worker
        ADD COLUMN version text NOT NULL DEFAULT '',
        ADD COLUMN roles text[] NOT NULL DEFAULT '{}',
        ADD COLUMN queues text[] NOT NULL DEFAULT '{*}'
    """,
    """
    CREATE UNLOGGED TABLE queue_flow (
        instance text NOT NULL,
        queue text NOT NULL,
        came double precision NOT NULL,
        went double precision NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (instance, queue)
    )
    """,
    """
    UPDATE ready SET lane = concat_ws(E'\\x01',
        concat_ws('/', lane::json ->> 4, lane::json ->> 5,
            replace(replace(lane::json ->> 6, E'\\x02', E'\\x02b'), E'\\x01', E'\\x02a')),
        lane::json ->> 0, lane::json ->> 1, lane::json ->> 2, lane::json ->> 3, lane::json ->> 7)
    """,
)
DOWN: tuple[str, ...] = (
    """
    UPDATE ready SET lane = json_build_array(
        split_part(lane, E'\\x01', 2), split_part(lane, E'\\x01', 3), split_part(lane, E'\\x01', 4),
        split_part(lane, E'\\x01', 5), split_part(lane, '/', 1), split_part(lane, '/', 2),
        substr(split_part(lane, E'\\x01', 1), length(split_part(lane, '/', 1)) + length(split_part(lane, '/', 2)) + 3),
        split_part(lane, E'\\x01', 6))::text
    """,
    "DROP TABLE queue_flow",
    "ALTER TABLE worker DROP COLUMN version, DROP COLUMN roles, DROP COLUMN queues",
    "DROP TABLE drained",
    "DROP TABLE route",
    "DROP INDEX limit_standing",
    'DELETE FROM "limit" WHERE n IS NULL',
    """
    ALTER TABLE "limit" ALTER COLUMN n SET NOT NULL, DROP COLUMN auto, DROP COLUMN rate_n, DROP COLUMN rate_s,
        DROP COLUMN burst, DROP COLUMN next_at, DROP COLUMN weight, DROP COLUMN version, DROP COLUMN changed_at
    """,
    """
    ALTER TABLE queue DROP COLUMN draining, DROP COLUMN weight, DROP COLUMN max_waiting, DROP COLUMN declared,
        DROP COLUMN version
    """,
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
