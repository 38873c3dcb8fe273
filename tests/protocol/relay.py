"""The relays of two processes that write one outbox: `Relay._own`, `_rounds` and `_publish`."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING
from zlib import crc32

from jobyard_common.messaging.publisher import PublishFailed, Sent

from tests.protocol.executor import Process

if TYPE_CHECKING:
    from tests.protocol.world import World

BATCH = 3


def shard_of(job_id: str, *, shards: int) -> int:
    return crc32(job_id.encode()) % shards


def own(world: World, process: Process, rng: Random, *, well: bool) -> list[int]:
    """`Relay._own`: what is free; two processes that begin at once may share the shards."""
    owned = [shard for shard, owner in enumerate(world.shards) if owner == process.name]
    free = [shard for shard, owner in enumerate(world.shards) if owner is None]
    if free and (not owned or rng.random() < 0.3):
        for shard in free if well or rng.random() < 0.8 else free[:1]:
            world.shards[shard] = process.name
            owned.append(shard)
        known, process.numbers = process.numbers, None
        if world.rules.keeps(len(owned), shards=len(world.shards)):
            process.numbers = world.rules.numbers() if known is None or world.rules.relay_forgets else known
        if world.rules.relay_forgets:
            process.kept.clear()
    return owned


def relay(world: World, process: Process, rng: Random, *, well: bool = False, full: bool | None = None) -> None:
    """`Relay._rounds` and `_publish`."""
    rules, db, owned = world.rules, process.db, own(world, process, rng, well=well)
    numbers = process.numbers
    if not owned:
        return
    if full is None:
        full = numbers is None or (rules.relay_begins_anew and (well or rng.random() < 0.15))
    if full and numbers is not None and numbers.is_open(process.kept):
        numbers.look(db.horizon, top=numbers.top)
    first = 0 if full or numbers is None else numbers.begins(process.kept)
    visible = [
        number for number, event in db.outbox.items()
        if numbers is not None or shard_of(event[0], shards=len(world.shards)) in owned
    ]  # fmt: skip
    found = rules.found_rows(visible, first, BATCH)
    if numbers is not None:
        for number in numbers.looked(found, process.kept, whole=len(found) < BATCH):
            del process.kept[number]
    answers: list[Sent | PublishFailed] = []
    for number in found:
        event = process.kept.get(number) or db.outbox[number]
        if well or rng.random() < 0.9:
            world.publish(event)
            answers.append(Sent(0, len(world.events)))
        else:
            if rng.random() < 0.5:
                world.late_events.append(event)
            answers += [PublishFailed("no answer")] * (len(found) - len(answers))
            break
    if found and not well and rng.random() < 0.1:
        process.kill()
        world.gone(process)
        return
    answered = rules.sort_answers(found, answers)
    for number in answered.done:
        del db.outbox[number]
        process.kept.pop(number, None)
    if answered.failed and numbers is not None:
        numbers.doubt()
