"""Lists that stay flat however long the history is: each is a walk along an index, newest first.

`job_label` has a row for each tag, metadata member, workflow run and schedule of a job, and one for a dead letter's
state. Triggers keep it. Labels come a batch at a time (6 to 7 µs a label, by row it was 11); the others have conditions
that a job without a schedule, and one that succeeds, never meets.
Long labels are kept by their beginning and a hash, because an index row has to fit. The index by tool and queue has no
id, which made writing it 1.1 instead of 2.7 µs; the few jobs of one microsecond are sorted when they are read.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

UP: tuple[str, ...] = (
    """
    CREATE FUNCTION label_key(label text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
    $$ SELECT CASE WHEN length(label) <= 200 THEN label ELSE left(label, 150) || '#' || md5(label) END $$
    """,
    """
    CREATE TABLE job_label (
        job_id text COLLATE "C" NOT NULL,
        tenant text NOT NULL,
        label text COLLATE "C" NOT NULL,
        created_at timestamptz NOT NULL
    ) PARTITION BY RANGE (job_id)
    """,
    "CREATE UNIQUE INDEX job_label_newest ON job_label (tenant, label, created_at DESC, job_id DESC)",
    """
    DO $$
    DECLARE part record;
    BEGIN
        FOR part IN
            SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'job_list'::regclass
        LOOP
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF job_label %s', replace(part.relname, 'job_list', 'job_label'), part.bound
            );
        END LOOP;
    END $$
    """,
    """
    INSERT INTO job_label (job_id, tenant, label, created_at)
    SELECT DISTINCT job_id, tenant, label_key(label), created_at FROM job_list, unnest(labels) AS label
    WHERE labels IS NOT NULL
    """,
    """
    INSERT INTO job_label (job_id, tenant, label, created_at)
    SELECT job_id, tenant, 's:' || schedule_id, created_at FROM job WHERE schedule_id IS NOT NULL
    """,
    """
    INSERT INTO job_label (job_id, tenant, label, created_at)
    SELECT j.job_id, j.tenant, 'd:' || coalesce(d.action, 'open'), j.created_at
    FROM job j LEFT JOIN dead_letter d USING (job_id) WHERE j.dead
    """,
    "DROP INDEX job_list_labels",
    "CREATE INDEX job_list_kind ON job_list (tenant, tool, queue, created_at)",
    """
    CREATE FUNCTION label_listed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO job_label (job_id, tenant, label, created_at)
        SELECT n.job_id, n.tenant, label_key(label), n.created_at FROM fresh n, unnest(n.labels) AS label
        WHERE n.labels IS NOT NULL ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION label_scheduled() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO job_label (job_id, tenant, label, created_at)
        VALUES (NEW.job_id, NEW.tenant, 's:' || NEW.schedule_id, NEW.created_at) ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION label_dead() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO job_label (job_id, tenant, label, created_at)
        SELECT job_id, tenant, 'd:open', created_at FROM job WHERE job_id = NEW.job_id AND dead ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION label_letter() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE born timestamptz;
    BEGIN
        SELECT created_at INTO born FROM job WHERE job_id = NEW.job_id AND dead;
        IF FOUND THEN
            DELETE FROM job_label WHERE tenant = NEW.tenant AND label IN ('d:open', 'd:replayed', 'd:discarded')
                AND created_at = born AND job_id = NEW.job_id;
            INSERT INTO job_label (job_id, tenant, label, created_at)
            VALUES (NEW.job_id, NEW.tenant, 'd:' || NEW.action, born);
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER label_listed AFTER INSERT ON job_list REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION label_listed()
    """,
    """
    CREATE TRIGGER label_scheduled AFTER INSERT ON job FOR EACH ROW
    WHEN (NEW.schedule_id IS NOT NULL) EXECUTE FUNCTION label_scheduled()
    """,
    """
    CREATE TRIGGER label_dead AFTER INSERT ON job_done FOR EACH ROW
    WHEN (NEW.state = 'failed') EXECUTE FUNCTION label_dead()
    """,
    """
    CREATE TRIGGER label_letter AFTER INSERT OR UPDATE OF action ON dead_letter FOR EACH ROW
    EXECUTE FUNCTION label_letter()
    """,
)
DOWN: tuple[str, ...] = (
    "DROP TRIGGER label_letter ON dead_letter",
    "DROP TRIGGER label_dead ON job_done",
    "DROP TRIGGER label_scheduled ON job",
    "DROP TRIGGER label_listed ON job_list",
    "DROP FUNCTION label_letter()",
    "DROP FUNCTION label_dead()",
    "DROP FUNCTION label_scheduled()",
    "DROP FUNCTION label_listed()",
    "DROP INDEX job_list_kind",
    "CREATE INDEX job_list_labels ON job_list USING gin (labels) WHERE labels IS NOT NULL",
    "DROP TABLE job_label",
    "DROP FUNCTION label_key(text)",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
