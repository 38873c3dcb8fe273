"""Files: outputs of attempts that wait for the word of the executor, and contents that several files share."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from jobyard_files.domain.file import FileState
from jobyard_files.domain.held import Fate, Verdict

from tests.protocol.database import Broken
from tests.protocol.executor import Key
from tests.protocol.rules import DELETING, LIVE, NAMING

if TYPE_CHECKING:
    from tests.protocol.world import World

HELD_FOR, UNUSED_FOR = 12.0, 4.0
CONTENTS = 2
F = FileState


@dataclass
class File:
    """An output; `content` stands for its SHA-256."""

    content: int
    state: FileState
    since: float


@dataclass
class Blob:
    state: str
    touched: float


class Shelf:
    """The files service: its rows, and the contents on its disk."""

    def __init__(self) -> None:
        self.files: dict[Key, File] = {}
        self.blobs: dict[int, Blob] = {}
        self.disk: set[int] = set()
        self.outputs: dict[tuple[str, int, int], Key] = {}
        """By the event that tells of them."""

    def store(self, world: World, key: Key) -> bool:
        """`StoreOutput`: adopt the content and name it, in one transaction; False: try again."""
        content = sum(key[0].encode()) % CONTENTS
        blob = self.blobs.get(content)
        if blob is not None and not world.rules.adopts(blob.state):
            return False
        if blob is None:
            blob = self.blobs[content] = Blob(LIVE, world.now)
            self.disk.add(content)
        blob.touched = world.now
        self.files[key] = File(content, F.HELD, world.now)
        return True

    def release(self, event: tuple[str, int, int]) -> None:
        """`ReleaseOutputs`: an end was recorded, and its event names its files."""
        file = self.files.get(self.outputs.get(event, ("", 0)))
        if file is not None and file.state is F.HELD:
            file.state = F.READY

    def delete(self, rng: Random) -> None:
        """A user deletes a file."""
        ready = [file for file in self.files.values() if file.state is F.READY]
        if ready:
            ready[rng.randrange(len(ready))].state = F.DELETED

    def sweep(self, world: World, rng: Random, *, well: bool = False, silent: bool = False) -> None:
        """`Sweep.held`, then one step of `Sweep.blobs`: marking and unlinking are transactions of their own."""
        rules = world.rules
        for key, file in self.files.items():
            if file.state is F.HELD and file.since < world.now - HELD_FOR:
                away = silent or (not well and rng.random() < 0.2)
                fate = rules.fate_of(Verdict.UNKNOWN if away else rules.verdict_of(world.db, key))
                if fate is not Fate.KEEP:
                    file.state = F.READY if fate is Fate.RELEASE else F.EXPIRED
        for content in sorted(name for name, blob in self.blobs.items() if blob.state == DELETING):
            del self.blobs[content]
            self.disk.discard(content)
        named = {file.content for file in self.files.values() if file.state in rules.naming}
        for content, blob in self.blobs.items():
            unused = content not in named and blob.touched < world.now - UNUSED_FOR
            blob.state = DELETING if unused else blob.state

    def check(self, world: World) -> None:
        """A13: what a recorded end names is there, unless somebody deleted it. I13: a file has its content."""
        for key, file in self.files.items():
            if file.state in NAMING and file.content not in self.disk:
                raise Broken("I13", f"the file of {key} is {file.state}, and its content is gone")
            if file.state is F.EXPIRED and world.rules.verdict_of(world.db, key) is Verdict.COMMITTED:
                raise Broken("A13", f"the file of {key} was recorded, and is {file.state}")

    def left(self) -> list[str]:
        """What waits for a decision, and contents that no file names."""
        waiting = [f"the file of {key}" for key, file in self.files.items() if file.state is F.HELD]
        named = {file.content for file in self.files.values() if file.state in NAMING}
        return waiting + [f"content {content}" for content in self.disk - named]
