"""What may be said of a job: who is asked next, and when nobody knows it for certain.

404 is said only by an executor that has taken in everything that was promised before it was asked. A promise waits in
the spool or stands in `jobs.commands`, and moves from the first to the second: so the spool is asked before the end.
"""

from __future__ import annotations

from enum import StrEnum


class Word(StrEnum):
    """What somebody answered; `SILENT` is away, or has fallen behind."""

    YES = "yes"
    NO = "no"
    SILENT = "silent"
    UNASKED = "unasked"


class Tell(StrEnum):
    ASK = "ask the executor"
    ASK_PROMISES = "ask for a promise that waits"
    ASK_BEHIND = "ask the executor behind the end of the commands"
    SHOW = "show the executor's answer"
    PROMISED = "show the promise"
    ABSENT = "there is none"
    UNSURE = "nobody can tell"


def tell(*, executor: Word, promises: Word, behind: Word) -> Tell:
    """`behind` is the executor's second word, after the end of the job's commands was read."""
    if executor is Word.UNASKED:
        return Tell.ASK
    if Word.YES in (executor, behind):
        return Tell.SHOW
    if promises is Word.UNASKED:
        return Tell.ASK_PROMISES
    if promises is Word.YES:
        return Tell.PROMISED
    if Word.SILENT in (executor, promises, behind):
        return Tell.UNSURE
    return Tell.ASK_BEHIND if behind is Word.UNASKED else Tell.ABSENT
