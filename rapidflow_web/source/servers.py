"""Which servers source may be fetched from, and which of them get the credentials of the server's user.

Whoever wrote a pipeline's `repo_name` is an administrator. Whoever wrote a repository is not: the URLs of
submodules and the servers to which others redirect must not lead into the server's own network.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Allowed = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network | str]
"""Networks, and names like `host` or `host:port`, as `RAPIDFLOW_SOURCE_HOSTS` has them."""

_PORTS = {"https": 443, "ssh": 22, "git": 9418}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SCP_LIKE = re.compile(r"(?:[^@/]*@)?(\[[^\]]*\]|[^:/\[\]]+):")
SETTING = "the administrator can allow it with RAPIDFLOW_SOURCE_HOSTS"


@dataclass(frozen=True, slots=True)
class Server:
    """Where a URL leads. The host is in lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS.get(self.scheme) else f"{host}:{self.port}"

    def is_at(self, other: Server | None) -> bool:
        """Whether both are the same host and port."""
        return other is not None and (self.host, self.port) == (other.host, other.port)


def server_of(url: str) -> Server | None:
    """The server of a URL that was checked; None for a `file://` one."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        match = _SCP_LIKE.match(url)
        return Server("ssh", match[1].strip("[]").lower(), _PORTS["ssh"]) if match else None
    if scheme not in _PORTS:
        return None
    parts = urlsplit(url)
    return Server(scheme, unquote(parts.hostname or "").lower().rstrip("."), parts.port or _PORTS[scheme])


def is_public(address: IP) -> bool:
    """Whether an address is one of the internet: not of this machine, a private network or a link."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def is_named(allowed: Allowed, server: Server) -> bool:
    """Whether the administrator named the server, which makes it as good as that of a pipeline."""
    try:
        address = ipaddress.ip_address(server.host)
    except ValueError:
        address = None
    for entry in allowed:
        if isinstance(entry, str):
            if entry in (server.host, f"{server.host}:{server.port}"):
                return True
        elif address is not None and address in entry:
            return True
    return False


async def resolve(server: Server) -> list[IP]:
    """The addresses of a server. Raises ValueError with a sentence."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            server.host, server.port, type=socket.SOCK_STREAM
        )
        # A link-local address may have the name of its link.
        return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    except (OSError, UnicodeError):
        raise ValueError(f"the host {server.host} could not be resolved") from None


async def judged(server: Server, allowed: Allowed) -> list[IP]:
    """The addresses of a server that a repository or another server named, if it may be contacted.

    Whoever contacts it must do so by these, for the name may have others a moment later. Raises ValueError
    with a sentence.
    """
    addresses = await resolve(server)
    if is_named(allowed, server):
        return addresses
    networks = [entry for entry in allowed if not isinstance(entry, str)]
    for address in addresses:
        if not is_public(address) and not any(address in network for network in networks):
            raise ValueError(
                f"{server} is in a private network or on this machine, where only the server of the "
                f"repository itself may be contacted; {SETTING}"
            )
    return addresses
