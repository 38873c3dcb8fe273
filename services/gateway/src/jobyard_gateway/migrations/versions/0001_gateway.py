"""Tenants, keys, secrets, the registry's copy and the spool.

The spool is the outbox: a command that Kafka did not take is a row of it, published later in order per job.
"""

from alembic import op
from jobyard_common.db.tables import ALL

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE tenant (
        id text PRIMARY KEY,
        name text NOT NULL,
        created_at timestamptz NOT NULL,
        disabled_at timestamptz
    )
    """,
    """
    CREATE TABLE api_key (
        id text PRIMARY KEY,
        tenant_id text NOT NULL REFERENCES tenant (id),
        name text NOT NULL,
        role text NOT NULL,
        scopes text[] NOT NULL,
        hash bytea NOT NULL,
        created_at timestamptz NOT NULL,
        created_by text NOT NULL,
        expires_at timestamptz,
        revoked_at timestamptz
    )
    """,
    "CREATE INDEX api_key_tenant ON api_key (tenant_id, created_at DESC)",
    "CREATE TABLE secret (name text PRIMARY KEY, value bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT now())",
    """
    CREATE TABLE tool (
        name text NOT NULL,
        version text NOT NULL,
        definition bytea NOT NULL,
        seen_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (name, version)
    )
    """,
)


def upgrade() -> None:
    for statement in (*TABLES, *ALL):
        op.execute(statement)
    op.execute("CREATE INDEX outbox_key ON outbox (key)")


def downgrade() -> None:
    for name in ("tool", "secret", "api_key", "tenant", "outbox_dead", "outbox", "consumer_offset"):
        op.execute(f"DROP TABLE {name}")
