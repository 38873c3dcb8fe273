"""Which addresses a job may call: public ones. Everything that could be a neighbour of ours is refused."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

REFUSED_4 = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and metadata services of some clouds
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local: metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "168.63.129.16/32",  # a public address that means the host inside one cloud
    )
)
REFUSED_6 = tuple(
    ip_network(network)
    for network in (
        "::/96",  # unspecified, loopback, IPv4-compatible
        "64:ff9b:1::/48",  # local translation
        "100::/64",
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
MAPPED = ip_network("::ffff:0:0/96")
TRANSLATED = ip_network("64:ff9b::/96")
SIX_TO_FOUR = ip_network("2002::/16")


def refusal(address: Address) -> str | None:
    """Why `address` must not be called, or None. An IPv4 address inside an IPv6 one is judged as itself."""
    inner = _inner(address)
    if inner is not None:
        return refusal(inner)
    networks = REFUSED_4 if isinstance(address, IPv4Address) else REFUSED_6
    for network in networks:
        if address in network:
            return f"{address} is in {network}, which is not public"
    return None if address.is_global else f"{address} is not public"


def _inner(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    number = int(address)
    if address in MAPPED or address in TRANSLATED:
        return IPv4Address(number & 0xFFFFFFFF)
    if address in SIX_TO_FOUR:
        return IPv4Address((number >> 80) & 0xFFFFFFFF)
    return None


def parse(text: str) -> Address:
    """An address as the resolver gives it, with or without a zone."""
    return ip_address(text.partition("%")[0])
