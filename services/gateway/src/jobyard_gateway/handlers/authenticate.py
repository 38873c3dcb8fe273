"""Who asks? A key in a header becomes a principal; nearly always from memory, in about a microsecond.

A principal seen once stays valid for a day while the key store can't be reached; a refusal never does.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict

from jobyard_common.db.breaker import Breaker, LeftInPeace
from jobyard_common.db.connection import Pool
from jobyard_common.db.errors import is_retryable
from jobyard_common.http.problems import Problem
from jobyard_common.runtime.clock import Clock
from jobyard_common.telemetry.logging import get_logger

from jobyard_gateway.domain import api_keys
from jobyard_gateway.domain.permissions import Permission, Principal, Role, effective
from jobyard_gateway.store import keys

log = get_logger("auth")
FRESH_S = 30.0
STALE_S = 86_400.0
REFUSED_S = 5.0
MOST_KNOWN, MOST_REFUSED = 10_000, 10_000
LOOKUP_S = 1.5


class Authenticator:
    def __init__(self, pool: Pool, *, pepper: bytes, clock: Clock) -> None:
        self._pool = pool
        self._pepper = pepper
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._breaker = Breaker(monotonic=clock.monotonic)

    def remembered(self, authorization: bytes) -> Principal | None:
        """The principal of a header seen within 30 s; None says nothing."""
        found = self._known.get(hashlib.sha256(authorization).digest())
        if found is None or found[0] < self._clock.monotonic():
            return None
        return found[1]

    async def of_header(self, authorization: bytes) -> Principal:
        """The principal of an `Authorization` header.

        Raises:
            Problem: unauthenticated, or unavailable if the key was never seen and the store is away.
        """
        found = self.remembered(authorization)
        if found is not None:
            return found
        scheme, _, text = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Problem("unauthenticated")
        return await self.of_key(text.strip().decode("ascii", errors="replace"), memory=authorization)

    async def of_key(self, text: str, *, memory: bytes | None = None) -> Principal:
        """The principal of a key; `memory` is what it shall be remembered under."""
        key_id = api_keys.id_of(text)
        if key_id is None:
            raise Problem("unauthenticated")
        digest = hashlib.sha256(memory if memory is not None else b"Bearer " + text.encode()).digest()
        now = self._clock.monotonic()
        known = self._known.get(digest)
        if known is not None and known[0] >= now:
            return known[1]
        if self._refused.get(digest, 0.0) > now:
            raise Problem("unauthenticated")
        try:
            principal = await self._ask_once(digest, key_id, text)
        except Exception as error:
            if not is_retryable(error):
                raise
            if known is not None and known[0] + STALE_S > now:
                return known[1]
            if not isinstance(error, LeftInPeace):
                log.warning("auth.store_away", error=f"{type(error).__name__}: {error}"[:200])
            raise Problem("unavailable", "The key can't be checked: the key store is away.") from None
        if principal is None:
            self._known.pop(digest, None)
            self._refused[digest] = now + REFUSED_S
            if len(self._refused) > MOST_REFUSED:
                self._refused.popitem(last=False)
            raise Problem("unauthenticated")
        self._known[digest] = (now + FRESH_S, principal)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return principal

    def forget(self, key_id: str) -> None:
        """A key was revoked here."""
        for digest in [digest for digest, (_, principal) in self._known.items() if principal.key_id == key_id]:
            del self._known[digest]

    async def _ask_once(self, digest: bytes, key_id: str, text: str) -> Principal | None:
        """One look-up at a time for a key: after an outage all its requests come at once, and would end the store."""
        asking = self._asking.get(digest)
        if asking is None or asking.done():
            asking = self._asking[digest] = asyncio.create_task(self._look_up(key_id, text))
            asking.add_done_callback(lambda done: self._asked(digest, done))
        return await asyncio.shield(asking)

    def _asked(self, digest: bytes, done: asyncio.Task[Principal | None]) -> None:
        self._asking.pop(digest, None)
        if not done.cancelled():
            done.exception()

    async def _look_up(self, key_id: str, text: str) -> Principal | None:
        stored = await self._breaker.ask(lambda: keys.find(self._pool, key_id, timeout_s=LOOKUP_S))
        if stored is None or not api_keys.matches(text, stored.hash, pepper=self._pepper) or stored.dead:
            return None
        if stored.expires_at is not None and stored.expires_at <= self._clock.now():
            return None
        role = Role(stored.role)
        return Principal(stored.tenant, key_id, role, effective(role, stored.scopes))


def allow(principal: Principal, permission: Permission) -> None:
    """Raises Problem: forbidden."""
    if permission not in principal.permissions:
        raise Problem("forbidden", f"This key lacks the permission {permission}.")
