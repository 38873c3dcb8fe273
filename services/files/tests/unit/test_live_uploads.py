"""One writer a file: the newest wins, drains end all, hashes are trusted only while nobody came between."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from jobyard_files.domain.refusals import Refusal, Refused
from jobyard_files.handlers.body import Ending
from jobyard_files.handlers.live_uploads import LiveUploads
from jobyard_files.inbound.body import RequestBody


class Line:
    """A connection whose client sends what the test puts in."""

    def __init__(self):
        self.messages = asyncio.Queue()

    async def receive(self):
        return await self.messages.get()

    def send(self, content, *, more=True):
        self.messages.put_nowait({"type": "http.request", "body": content, "more_body": more})


async def read_until_end(live, body, log, name):
    async with live.claim("file_1", body):
        log.append(f"{name} begins")
        while not isinstance(piece := await body.read(wait_s=30), Ending):
            log.append(piece)
        log.append(f"{name} ends {piece}")
        return piece


def test_the_newest_writer_wins_and_waits_for_the_old_one():
    async def run():
        live, log, first, second = LiveUploads(), [], Line(), Line()
        one = asyncio.create_task(read_until_end(live, RequestBody(first.receive), log, "one"))
        first.send(b"abc")
        await asyncio.sleep(0.01)
        two = asyncio.create_task(read_until_end(live, RequestBody(second.receive), log, "two"))
        second.send(b"def", more=False)
        assert await one is Ending.TAKEN_OVER
        assert await two is Ending.WHOLE
        assert log == ["one begins", b"abc", "one ends taken_over", "two begins", b"def", "two ends whole"]

    asyncio.run(run())


def test_a_writer_that_does_not_end_keeps_others_out_for_a_while_only():
    class Deaf(RequestBody):
        def cut(self, why):
            """Goes on."""

    async def run():
        live, log, line = LiveUploads(takeover_s=0.05), [], Line()
        stuck = asyncio.create_task(read_until_end(live, Deaf(line.receive), log, "stuck"))
        await asyncio.sleep(0)
        with pytest.raises(Refused) as caught:
            await read_until_end(live, RequestBody(Line().receive), log, "late")
        assert caught.value.reason is Refusal.LOCKED
        assert not await live.settle("file_1")
        line.send(b"", more=False)
        await stuck
        assert await live.settle("file_1")

    asyncio.run(run())


def test_a_drain_ends_writers_and_lets_no_more_in():
    async def run():
        live, log, line = LiveUploads(), [], Line()
        task = asyncio.create_task(read_until_end(live, RequestBody(line.receive), log, "one"))
        await asyncio.sleep(0)
        await live.drain()
        assert await task is Ending.DRAINING
        with pytest.raises(Refused) as caught:
            await read_until_end(live, RequestBody(line.receive), log, "two")
        assert caught.value.status == 503

    asyncio.run(run())


def test_a_hash_is_recalled_only_by_the_very_next_writer_at_the_same_offset():
    live, digest = LiveUploads(), hashlib.sha256(b"abc")
    live.remember("f", digest, epoch=4, received=3)
    assert live.recall("f", epoch=5, received=3) is digest
    assert live.recall("f", epoch=6, received=3) is None
    live.remember("f", digest, epoch=4, received=3)
    assert live.recall("f", epoch=6, received=3) is None
    live.remember("f", digest, epoch=4, received=3)
    assert live.recall("f", epoch=5, received=2) is None
    live.remember("f", digest, epoch=4, received=3)
    live.carry("f", epoch=5)
    assert live.recall("f", epoch=6, received=3) is digest
    fresh = live.recall("f", epoch=9, received=0)
    assert fresh is not None and fresh.hexdigest() == hashlib.sha256().hexdigest()


def test_memory_of_hashes_is_bounded():
    live = LiveUploads()
    for number in range(3000):
        live.remember(f"f{number}", hashlib.sha256(), epoch=1, received=1)
    assert live.recall("f0", epoch=2, received=1) is None
    assert live.recall("f2999", epoch=2, received=1) is not None


def test_a_body_tells_how_it_ended():
    async def run():
        line = Line()
        body = RequestBody(line.receive)
        assert await body.read(wait_s=0.01) is None
        line.send(b"a")
        line.send(b"b", more=False)
        assert [await body.read(wait_s=1) for _ in range(3)] == [b"a", b"b", Ending.WHOLE]
        gone = RequestBody(line.receive)
        line.messages.put_nowait({"type": "http.disconnect"})
        assert await gone.read(wait_s=1) is Ending.CLIENT_GONE
        body_cut = RequestBody(line.receive)
        body_cut.cut(Ending.DRAINING)
        assert await body_cut.read(wait_s=1) is Ending.DRAINING

    asyncio.run(run())
