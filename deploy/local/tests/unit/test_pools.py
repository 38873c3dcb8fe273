"""All pools of a local stack together leave PostgreSQL room for what was killed and not noticed yet."""

from __future__ import annotations

import re

from jobyard_common.db.roles import SERVICES
from jobyard_common.settings import CommonSettings
from jobyard_local.servers.postgres import SETTINGS

BESIDE = 2 + 4 + 8
"""The gateway's administration, the monitor's reads, and the executor's pool of fixed plans."""


def test_pools_together_use_at_most_half_of_the_connections() -> None:
    found = re.search(r"^max_connections = (\d+)$", SETTINGS, re.MULTILINE)
    assert found is not None
    a_pool = CommonSettings.model_fields["postgres_pool_size"].default
    assert len(SERVICES) * a_pool + BESIDE <= int(found[1]) / 2
