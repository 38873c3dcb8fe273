"""What can go wrong while the stack starts; the message is one sentence for the person at the terminal.

StackError
├── PortTaken         the wanted port belongs to somebody else
├── RegistryAway      something must be downloaded and cannot be
├── ServerFailed      a server or service ended, or was not ready in time
└── HomeBusy          another launcher uses this data folder
"""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot go on; the text says what to do."""


class PortTaken(StackError):
    """The wanted port belongs to another process."""


class RegistryAway(StackError):
    """A download failed."""


class ServerFailed(StackError):
    """A process ended early or was not ready in time."""


class HomeBusy(StackError):
    """The data folder is in use by another launcher."""
