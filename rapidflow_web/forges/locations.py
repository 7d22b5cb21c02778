"""Clone URLs: at which host, and for which repository."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_SCP_LIKE = re.compile(r"(?:[^@/:]*@)?(?P<host>\[[^\]/]*\]|[^:/\[\]]+):(?P<path>[^:]*)")
_HOSTS = {
    "github.com": "github",
    "ssh.github.com": "github",
    "gitlab.com": "gitlab",
    "altssh.gitlab.com": "gitlab",
    "gitea.com": "gitea",
    "codeberg.org": "forgejo",
    "bitbucket.org": "bitbucket",
    "altssh.bitbucket.org": "bitbucket",
}
_FIRST_LABELS = ("github", "gitlab", "gitea", "forgejo")
_GITHUB_CLOUD = ".ghe.com"


@dataclass(frozen=True, slots=True)
class Location:
    """What a clone URL leads to. `authority` is a host in lower case, with a port where the URL has one.

    `path` is that of the repository, without slashes at its ends and without `.git`.
    """

    scheme: str
    host: str
    authority: str
    path: str

    def origin(self) -> str:
        """The URL at which a web server would be that belongs to this git server."""
        if self.scheme == "https" or (self.scheme == "http" and _is_near(self.host)):
            return f"{self.scheme}://{self.authority}"
        # The port is that of another service.
        return f"https://[{self.host}]" if ":" in self.host else f"https://{self.host}"

    def names(self) -> tuple[str, ...]:
        """The parts of the path, decoded. Empty where one can't be a name."""
        names = tuple(unquote(name) for name in self.path.split("/"))
        return () if any(name in ("", ".", "..") or "/" in name for name in names) else names


def of(url: str) -> Location | None:
    """Where a clone URL leads; None for a folder, or what is no clone URL."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        match = _SCP_LIKE.fullmatch(url)
        if not match:
            return None
        host = match["host"].strip("[]").lower()
        return Location("ssh", host, host, _trimmed(match["path"]))
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return None
    if not host or scheme.lower() == "file":
        return None
    shown = f"[{host}]" if ":" in host else host
    return Location(scheme.lower(), host, f"{shown}:{port}" if port else shown, _trimmed(parts.path))


def guess(url: str) -> str:
    """The forge of a clone URL by its host, `git` where that is not known."""
    there = of(url)
    if there is None:
        return "git"
    if there.host.endswith(_GITHUB_CLOUD):
        return "github"
    first = there.host.partition(".")[0]
    return _HOSTS.get(there.host) or (first if first in _FIRST_LABELS else "git")


def _trimmed(path: str) -> str:
    return path.strip("/").removesuffix(".git")


def _is_near(host: str) -> bool:
    """Whether it is this machine or in its network, where a token may be sent in clear."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(".localhost")
