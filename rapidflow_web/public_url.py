"""The URL under which browsers see the server, where a proxy in front gives it another."""

from __future__ import annotations

import re
from dataclasses import dataclass

_URL = re.compile(
    r"(https?)://((?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?)((?:/[A-Za-z0-9._~-]+)*)/?"
)


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """Such as https://ci.example.com/rapidflow. `path` is like /rapidflow, or empty."""

    scheme: str
    host: str
    path: str

    @property
    def name(self) -> str:
        """The name of the host, without a port."""
        return name_of(self.host)

    @property
    def origin(self) -> str:
        """What browsers name as the origin of requests from its pages."""
        return f"{self.scheme}://{self.host}"

    def __str__(self) -> str:
        return f"{self.origin}{self.path}"


def name_of(host: str) -> str:
    """The name of a host that may have a port, in lower case."""
    return re.sub(r":[0-9]+$", "", host).lower()


def parse_public_url(text: str) -> PublicUrl | None:
    """The URL that a setting holds, None for an empty one. Raises ValueError."""
    if not text:
        return None
    match = _URL.fullmatch(text)
    if match is None or any(part in (".", "..") for part in match[3].split("/")):
        raise ValueError("write it like https://ci.example.com/rapidflow, without query or fragment")
    # Browsers name no port where it is the usual one.
    host = match[2].lower().removesuffix({"http": ":80", "https": ":443"}[match[1]])
    return PublicUrl(match[1], host, match[3])
