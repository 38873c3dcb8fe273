"""Read models made anew from their topics: emptied and sent back to offset 0 in one transaction.

Running monitors notice that their offset moved, drop what they hold and read again; nothing has to be stopped.
Topics remember less than some tables do (output and logs one day), so only what is named is given up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jobyard_common.db.connection import Connection

from jobyard_monitor.store import rebuild as store

PROJECTIONS = ("jobs.events", "files.events")
"""What is rebuilt unless something else is named: models whose topics remember all that they show."""
KNOWN = tuple(store.TABLES)


class UnknownTopic(ValueError):
    """There is nothing to rebuild under this name; the text lists the names that there are."""


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """`all`, some names, or none for the projections.

    Raises:
        UnknownTopic: a name is not known.
    """
    if list(names) == ["all"]:
        return KNOWN
    for name in names:
        if name not in KNOWN:
            raise UnknownTopic(f"{name!r} is none of {', '.join(KNOWN)}, all")
    return tuple(dict.fromkeys(names)) or PROJECTIONS


async def rebuild(connection: Connection, *, names: Sequence[str], on_broker: Callable[[str], str]) -> None:
    """`on_broker` turns a topic's name into the one on the broker."""
    async with connection.transaction():
        await store.restart(connection, topics={name: on_broker(name) for name in names})
