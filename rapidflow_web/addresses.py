"""IP addresses in one form, so that one client is not several."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_MAPPED = IPv6Network("::ffff:0:0/96")
_CLIENT_BITS = 64
_SITE_BITS = 48


def parse(text: str) -> IPv4Address | IPv6Address:
    """The address, without a zone; `::ffff:192.0.2.1` is 192.0.2.1. Raises ValueError."""
    found = ip_address(text.partition("%")[0])
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """A network or a single address, mapped ones as those of IPv4. Raises ValueError."""
    found = ip_network(text)
    if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
        first = found.network_address.ipv4_mapped
        return IPv4Network(f"{first}/{found.prefixlen - _MAPPED.prefixlen}")
    return found


def plain(text: str) -> str:
    """The address as it is written down: a mapped one as that of IPv4, and without a port."""
    for candidate in (text, text.rpartition(":")[0], text.partition("]")[0].removeprefix("[")):
        try:
            return str(parse(candidate))
        except ValueError:
            continue
    return text[:64]


def client(text: str) -> str:
    """All that one client is sure to have of addresses: an IPv4 address, or the /64 of an IPv6 one."""
    return _network(text, _CLIENT_BITS)


def site(text: str) -> str:
    """All that one party may have of addresses: an IPv4 address, or the /48 of an IPv6 one."""
    return _network(text, _SITE_BITS)


def _network(text: str, bits: int) -> str:
    try:
        found = parse(text)
    except ValueError:
        return text[:64]
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, bits), strict=False))
    return str(found)
