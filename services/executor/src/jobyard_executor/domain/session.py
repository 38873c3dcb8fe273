"""When a worker session may be trusted, and when it is dead: pure rules over two clocks.

The database clock says when a session has expired. Our own monotonic clock says how long *we* have seen no sign of
it; both must agree, so that a step of either clock, or an outage of ours, never ends a living session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True)
class LeaseTerms:
    """`trust` after the last good beat a worker kills its tools; only later, at `ttl`, may others start them."""

    beat: timedelta = timedelta(seconds=10)
    ttl: timedelta = timedelta(seconds=30)
    trust: timedelta = timedelta(seconds=22)
    claim_timeout: timedelta = timedelta(seconds=10)

    def __post_init__(self) -> None:
        if not self.beat < self.trust < self.ttl:
            raise ValueError("beat < trust window < TTL must hold")

    def trusted_until(self, began: float) -> float:
        """Until when, in monotonic seconds, a good beat that began at `began` lets tools run."""
        return began + self.trust.total_seconds()


def may_start(*, at: float, trusted_until: float, claims_open: bool) -> bool:
    """Whether what was claimed may be started. The process may have slept between the claim and its answer."""
    return claims_open and at < trusted_until


@dataclass
class Watch:
    """What one reaper has seen of the others' beats. Times are its own monotonic seconds."""

    ttl: timedelta
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def observe(self, session: str, *, beat: int, expired: bool, at: float) -> bool:
        """Whether the session is dead: expired, and its beat unchanged in our sight for the whole TTL."""
        known = self._seen.get(session)
        if known is None or known[0] != beat:
            self._seen[session] = (beat, at)
            return False
        return expired and at - known[1] >= self.ttl.total_seconds()

    def blind(self) -> None:
        """We could not look: whatever was seen before proves nothing."""
        self._seen.clear()

    def keep(self, sessions: set[str]) -> None:
        self._seen = {session: seen for session, seen in self._seen.items() if session in sessions}
