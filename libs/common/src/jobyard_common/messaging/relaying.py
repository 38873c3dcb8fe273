"""What the relay of an outbox does next: pure rules.

There is no cursor: a transaction that commits late has lower numbers than what was published before it. A round may
begin behind the last one only as long as everything came from the memory of this process, and one in every poll
begins at the beginning whatever happened.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jobyard_common.messaging.publisher import PublishFailed, Sent


def round_begins(behind: int, kept: Collection[int], *, full: bool) -> int:
    """The least number of a round; `behind` is where the last one ended, `kept` what waits in memory."""
    return 0 if full else min(behind, min(kept, default=behind))


def round_ended(numbers: Sequence[int], kept: Collection[int]) -> int:
    """Where the next round may begin: behind these numbers if all of them were our own, else at the beginning."""
    return numbers[-1] + 1 if all(number in kept for number in numbers) else 0


@dataclass(frozen=True)
class Answered:
    """`done` are acknowledged, `refused` never will be, with why; `failed` are sent again, in order."""

    done: list[int]
    refused: list[tuple[int, str]]
    failed: list[PublishFailed]


def sort_answers(numbers: Sequence[int], answers: Sequence[Sent | PublishFailed]) -> Answered:
    """A row is deleted for an acknowledgement alone."""
    found = Answered([], [], [])
    for number, answer in zip(numbers, answers, strict=True):
        if isinstance(answer, Sent):
            found.done.append(number)
        elif answer.permanent:
            found.refused.append((number, str(answer)))
        else:
            found.failed.append(answer)
    return found
