"""However the rows of a batch travel, what arrives is what was sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from jobyard_common.messaging.publisher import OutRecord
from jobyard_executor.domain.snapshot import snapshot
from jobyard_executor.testing.runner import ScriptedRunner


@pytest.mark.parametrize("size", [1, 20])
@pytest.mark.parametrize("odd", ["corr-1", "a\x1fb", "\x1f", "é\U0001f600"])
def test_a_batch_is_stored_as_it_was_sent(play: Callable[..., None], size: int, odd: str) -> None:
    async def scenario(bench: Any) -> None:
        kept: dict[int, OutRecord] = {}
        bench.engine.keep_records = lambda ids, records: kept.update(zip(ids, records, strict=True))
        commands = [bench.submit(parameters=msgspec.Raw(b'{ "a":\t"\xc3\xa9\\u001f" }')) for _ in range(size)]
        records = [bench.record(command) for command in commands]
        for record in records[: (size + 1) // 2]:
            record.headers = [(n, odd.encode() if n == "ce_correlationid" else v) for n, v in record.headers]
        async with bench.pool.acquire() as connection, connection.transaction():
            assert not await bench.ingest.apply(connection, records)
        for number, command in enumerate(commands):
            job = await bench.job(command.job_id)
            assert job.correlation_id == (odd if number < (size + 1) // 2 else "corr-1")
            assert msgspec.json.decode(snapshot(job))["parameters"] == {"a": "é\x1f"}
            assert b'{ "a":\t"\xc3\xa9\\u001f" }' in job.spec.encode()
        await bench.work(ScriptedRunner())
        for command in commands:
            await bench.until(command.job_id, "succeeded")
            assert await bench.states(command.job_id) == ["queued", "running", "succeeded"]
        rows = await bench.pool.fetch("SELECT id, topic, key, value, headers FROM outbox ORDER BY id")
        assert len(rows) == len(kept) == 3 * size
        for number, topic, key, value, headers in rows:
            record = kept[number]
            assert (topic, key.decode(), value) == (record.topic, record.key, record.value)
            assert msgspec.msgpack.decode(headers, type=list[tuple[str, bytes]]) == record.headers

    play(scenario)
