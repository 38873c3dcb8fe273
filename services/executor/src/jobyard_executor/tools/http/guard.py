"""From a URL to the address that is really called: resolved once, judged, and then connected to by number.

Between the judgement and the connection no name is looked up again, so an answer that changes has no effect.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import httpx
from jobyard.author import ToolError

from jobyard_executor.tools.http.addresses import Address, parse, refusal
from jobyard_executor.tools.http.settings import HttpSettings

LONGEST_URL = 8192
LOOKUP_S = 5.0
MOST_ADDRESSES = 4
HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}")
DEFAULT_PORTS = {"http": 80, "https": 443}

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A checked URL. `addresses` are tried in order; `host` goes into the Host header and the certificate check."""

    url: httpx.URL
    host: str
    port: int
    addresses: tuple[Address, ...]

    def at(self, address: Address) -> httpx.URL:
        """The URL with the address in place of the name."""
        return self.url.copy_with(host=str(address))


async def checked(text: str, *, settings: HttpSettings, lookup: Lookup) -> Target:
    """Raises ToolError `url_refused`, `address_refused` or `name_unresolved`."""
    url, host, port = _parsed(text)
    free = settings.allows(host, port)
    if not free and not settings.allows_port(port):
        raise _refused("url_refused", f"Port {port} may not be called; {settings.ports.replace(',', ', ')} may.")
    addresses = await _addresses(host, port, lookup)
    for address in addresses:
        reason = None if free else refusal(address)
        if reason is not None:
            raise _refused("address_refused", f"{host!r} may not be called: {reason}.")
    return Target(url=url, host=host, port=port, addresses=addresses[:MOST_ADDRESSES])


def _parsed(text: str) -> tuple[httpx.URL, str, int]:
    if len(text) > LONGEST_URL:
        raise _refused("url_refused", f"The URL has more than {LONGEST_URL:,} characters.")
    if re.search(r"[\x00-\x20\x7f\\]", text):
        raise _refused("url_refused", "The URL holds a space, a control character or a backslash.")
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii").strip("[]").rstrip(".").lower()
    except (httpx.InvalidURL, UnicodeError) as error:
        raise _refused("url_refused", f"This is no URL: {error}.") from None
    if url.scheme not in DEFAULT_PORTS:
        raise _refused("url_refused", f"Only http and https URLs are fetched, not {url.scheme[:20]!r}.")
    if url.userinfo:
        raise _refused("url_refused", "The URL holds a user name or password; send an Authorization header instead.")
    if not HOST.fullmatch(host):
        raise _refused("url_refused", f"{host[:100]!r} cannot be the name or address of a host.")
    return url, host, DEFAULT_PORTS[url.scheme] if url.port is None else url.port


async def _addresses(host: str, port: int, lookup: Lookup) -> tuple[Address, ...]:
    try:
        async with asyncio.timeout(LOOKUP_S):
            found = await lookup(host, port)
        addresses = tuple(dict.fromkeys(parse(text) for text in found))
    except TimeoutError:
        raise ToolError(f"No answer to the look-up of {host!r} in {LOOKUP_S:.0f} s.", code="name_unresolved") from None
    except (OSError, ValueError) as error:
        raise ToolError(f"{host!r} cannot be found: {error}.", code="name_unresolved") from None
    if not addresses:
        raise ToolError(f"{host!r} has no address.", code="name_unresolved")
    return addresses


async def system_lookup(host: str, port: int) -> Sequence[str]:
    """What the system's resolver says; it also reads numbers in all their spellings, such as 127.1."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _refused(code: str, message: str) -> ToolError:
    return ToolError(message, code=code, retryable=False)
