"""New ids whose records go into one partition: what is under way together then costs a broker little."""

from __future__ import annotations

import zlib
from itertools import islice
from typing import NamedTuple

from jobyard_common.contracts.ids import ALPHABET, new_id

_PAIRS = [(a + b).encode() for a in ALPHABET for b in ALPHABET]
_TWICE = _PAIRS * 2
_PLACES = {pair: place for place, pair in enumerate(_PAIRS)}


class Place(NamedTuple):
    """One partition of a topic that has so many."""

    partition: int
    partitions: int


def placed_id(prefix: str, place: Place, *, cell: str = "00") -> str:
    """A new unkeyed id like any other, of which `kafka.partition_of` says `place.partition`.

    Its last two characters are the first that fit, from where chance had put them; where none fit, they stay.
    """
    partition, partitions = place
    text = new_id(prefix, cell=cell).encode()
    head, begin, crc32 = text[:-2], _PLACES[text[-2:]], zlib.crc32
    before = crc32(head)
    for pair in islice(_TWICE, begin, begin + len(_PAIRS)):
        if crc32(pair, before) % partitions == partition:
            return (head + pair).decode()
    return text.decode()
