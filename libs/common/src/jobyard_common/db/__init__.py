"""PostgreSQL, once: pools, migrations, shared tables."""
