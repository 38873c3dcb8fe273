"""One stack for the tests that cross services; they run one after another (marker `serial`)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.collector import Collector
from tests.support.stack import OwnStack
from tests.support.yard import Yard


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def stack(collector: Collector) -> Iterator[OwnStack]:
    home = Path(tempfile.mkdtemp(prefix="jobyard-e2e-"))
    found = OwnStack(home, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, OTEL_TRACES_SAMPLER="parentbased_always_on")
    try:
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def yard(stack: OwnStack) -> Iterator[Yard]:
    stack.reload()
    found = Yard(stack)
    yield found
    found.close()
