"""Where we refuse to call back to: our own network, and everything that is not plain HTTPS.

This is the check at the door. The sender of callbacks checks again when it connects, because names change.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

_PORTS = frozenset({None, 443, 8443})
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".home.arpa", ".localdomain")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
MAX_LENGTH = 2048


def refusal(url: str) -> str | None:
    """Why `url` is no callback, or None."""
    if len(url) > MAX_LENGTH or not url.isascii() or any(character <= " " or character in '\\"<>' for character in url):
        return "Not a URL of visible ASCII characters."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "Not a URL."
    if parts.scheme != "https":
        return "Only https URLs are called back."
    if "@" in parts.netloc:
        return "A URL with credentials is not called back."
    if port not in _PORTS:
        return "Only the ports 443 and 8443 are called back."
    return _refused_host((parts.hostname or "").rstrip("."))


def _refused_host(host: str) -> str | None:
    if not host:
        return "The URL names no host."
    address = _address(host)
    if address is not None:
        return None if _public(address) else "The address is not a public one."
    if host == "localhost" or host.endswith(_LOCAL_SUFFIXES) or "." not in host:
        return "The host is not a public one."
    return None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        # The resolver also takes 127.1, 0x7f000001 and 017700000001 for addresses.
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return _public(address.ipv4_mapped)
        if address in _NAT64:
            return _public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address.is_global and not address.is_multicast
