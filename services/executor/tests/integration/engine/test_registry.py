"""Tools are registered all at once, and one that changed without a new version is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from jobyard_common.contracts.tools import Isolation, Level, ToolDefinition
from jobyard_executor.outbound.registry import Registry
from jobyard_executor.store import tool_versions

Play = Callable[[Any], None]


def tool(name: str, *, version: str = "1", digest: str = "a", **limits: int) -> bytes:
    empty = msgspec.Raw(b"{}")
    made = ToolDefinition(name, version, name, "", empty, "default", Isolation.ASYNC, Level.L0, digest, limits=limits)
    return msgspec.json.encode(made)


def definitions(*texts: bytes) -> list[tuple[ToolDefinition, bytes]]:
    return [(msgspec.json.decode(text, type=ToolDefinition), text) for text in texts]


async def stored(bench: Any, *texts: bytes) -> set[str]:
    registry = Registry(bench.pool, bench.published, source="test", on_registered=lambda _: None)
    return {taken.key for taken, _ in await registry._store(definitions(*texts))}


async def limits(bench: Any) -> dict[str, int]:
    return {row[0]: row[1] for row in await bench.pool.fetch("SELECT key, n FROM \"limit\" WHERE key ~ '^tool:'")}


def test_many_tools_take_one_statement(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        asked: list[str] = []
        async with bench.pool.acquire() as connection:
            connection.add_query_logger(lambda record: asked.append(record.query))
            taken = await tool_versions.register(
                connection, [(row, text.decode()) for row, text in definitions(*(tool(f"many.{n}") for n in range(50)))]
            )
        assert len(taken) == 50
        assert len([text for text in asked if "tool_version" in text]) == 1

    play(scenario)


def test_a_version_that_changed_is_refused_and_its_row_stays(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        assert await stored(bench, tool("a"), tool("b")) == {"a@1", "b@1"}
        await bench.pool.execute("UPDATE tool_version SET seen_at = now() - interval '1 day', retired = true")
        assert await stored(bench, tool("a", digest="other"), tool("b"), tool("a", version="2")) == {"b@1", "a@2"}
        rows = await bench.pool.fetch(
            "SELECT name, hash, retired, seen_at > now() - interval '1 hour' AS fresh FROM tool_version "
            "WHERE version = '1' AND name IN ('a', 'b') ORDER BY name"
        )
        assert [tuple(row) for row in rows] == [("a", "a", True, False), ("b", "a", False, True)]

    play(scenario)


def test_declared_limits_follow_the_newest_version_but_not_over_an_operators(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        await stored(bench, tool("a", concurrency=2), tool("a", version="2", concurrency=3), tool("b", concurrency=4))
        assert await limits(bench) == {"tool:a": 3, "tool:b": 4}
        before = await bench.pool.fetchval("SELECT version FROM \"limit\" WHERE key = 'tool:a'")
        await bench.pool.execute("UPDATE \"limit\" SET n = 9, declared = false WHERE key = 'tool:b'")
        await stored(bench, tool("a", version="3", concurrency=5), tool("b", concurrency=4), tool("c"))
        assert await limits(bench) == {"tool:a": 5, "tool:b": 9}
        assert await bench.pool.fetchval("SELECT version FROM \"limit\" WHERE key = 'tool:a'") == before + 1

    play(scenario)


def test_the_same_tool_twice_is_one(play: Play) -> None:
    async def scenario(bench: Any) -> None:
        assert await stored(bench, tool("a"), tool("a")) == {"a@1"}

    play(scenario)
