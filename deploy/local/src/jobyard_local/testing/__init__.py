"""A pytest plugin: real Kafka, PostgreSQL and Valkey for integration tests.

The root `conftest.py` loads it, so a test only names what it needs; all fixtures are ordinary (not async) ones:

    def test_claim(database, servers, topic_prefix):
        dsn = database("executor")        # fresh, migrated to head, the service's own role and search_path
        servers.kafka, servers.valkey     # bootstrap, url;  servers.postgres = superuser's DSN
        topic_prefix                      # every topic exists with this prefix, 2 partitions each

- `servers`: one set per test run, shared by all xdist workers, started by the first that asks and ended by itself
  once nobody holds it, also after a kill. `JOBYARD_TEST_SERVERS=file.json` uses running ones instead; the file has
  the keys `postgres`, `kafka`, `valkey`.
- `database(service, package=None)`: each call makes one database per test and service, cloned from a template
  that is migrated once; dropped after the test. `database.empty(service)` gives one before any migration.
- `valkey_prefix`: a key prefix of this test alone. Valkey is shared: never flush it.
- `topic_prefix`: topics are deleted after the test. `jobyard_common.contracts.topics.topic_name` applies it.
"""

from __future__ import annotations

from jobyard_local.testing.fixtures import database, servers, topic_prefix, valkey_prefix

__all__ = ["database", "servers", "topic_prefix", "valkey_prefix"]
