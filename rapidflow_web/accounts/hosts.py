"""The names that the server answers to.

A page that a browser loaded from another name may have had that name pointed here since (DNS rebinding), and
then the browser takes it for a page of this server. An address in numbers can't be pointed anywhere.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

_LOCAL = re.compile(r"[a-z0-9._-]+\.localhost")
_PORT = re.compile(r":[0-9]{1,5}$")


class Hosts:
    """The name of this machine, and `names` that the administrator added."""

    def __init__(self, names: Iterable[str]) -> None:
        # Not its full name: to find that out may take a name server that does not answer many seconds.
        self._names = {"localhost", *(name.lower().rstrip(".") for name in (*names, socket.gethostname()))}
        self._known: set[str] = set()

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server."""
        if host in self._known:
            return True
        name = _PORT.sub("", host).lower().rstrip(".")
        known = name in self._names or _LOCAL.fullmatch(name) is not None or _is_address(name)
        if known and len(self._known) < 100:
            self._known.add(host)
        return known


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
