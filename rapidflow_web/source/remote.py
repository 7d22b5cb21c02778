"""How git gets to a repository: with whose credentials, and to which addresses."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from rapidflow_web.pipeline.clone_credentials import Login
from rapidflow_web.source import ssh
from rapidflow_web.source.egress_proxy import Gateway
from rapidflow_web.source.git import GitError, Terms, git, login_terms, without_credentials
from rapidflow_web.source.servers import SETTING, Allowed, Server, is_named, judged, server_of

T = TypeVar("T")

_PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""The first that is there counts for git, also an empty one, which stands for no proxy."""
_ANYBODYS = ("http.proxy", "http.sslcainfo", "http.sslcapath", "http.sslverify", "http.proxysslcainfo")
"""What of the configuration of the server's user counts for every server, for it is no credential."""


@dataclass(frozen=True, slots=True)
class Way:
    """The way to one repository. `server` is None for a folder of this machine.

    A `trusted` one may have any address, for an administrator named it. With `credentials` git uses what the
    server's user has configured. `own` is whether the pipeline itself names it. The `url` has no password.
    """

    url: str
    server: Server | None
    trusted: bool = True
    credentials: bool = True
    own: bool = True
    login: Login | None = field(default=None, repr=False)
    allowed: Allowed = ()

    def at_rest(self, mirror: Path) -> Terms:
        """The terms on which git works with what was fetched, contacting nobody."""
        return Terms() if self.credentials else _without_user(mirror)

    async def _terms(self, mirror: Path) -> Terms:
        if not self.credentials:
            return _without_user(mirror) + login_terms(self.login) + Terms(quiet=not self.own)
        strict = Terms(ssh.strict(await ssh_command(mirror)))
        return strict + login_terms(self.login) + Terms(quiet=not self.own)

    async def go(self, mirror: Path, action: Callable[[Terms], Awaitable[T]], *, onward: bool = False) -> T:
        """What `action` returns, which contacts the server on the terms it is given.

        A server to which this one redirects gets no credentials, unless it is to send git `onward`. Raises
        `GitError`, also where a server may not be contacted.
        """
        for way, elsewhere in ((self, onward), (replace(self, credentials=False), True)):
            gate: Gateway | None = None
            try:
                async with way._opened(mirror, elsewhere) as (terms, gate):
                    return await action(terms)
            except GitError as error:
                if gate is not None and gate.redirects and not elsewhere:
                    continue  # to a server that may be contacted, and is given no credentials
                if gate is not None and gate.problem is not None:
                    raise GitError(
                        f"unable to access '{without_credentials(self.url)}': {gate.problem}"
                    ) from None
                raise error
        raise AssertionError("the second try has returned or raised")

    @contextlib.asynccontextmanager
    async def _opened(self, mirror: Path, elsewhere: bool) -> AsyncGenerator[tuple[Terms, Gateway | None]]:
        terms = await self._terms(mirror)
        if self.server is None:
            yield terms, None
            return
        # All that follows is about the URL from which git really fetches.
        url = await rewritten(self.url, mirror, terms)
        server = server_of(url)
        if server is None or server.scheme != "https":
            yield (
                terms + (Terms() if server is None or self.trusted else await self._pinned(url, server)),
                None,
            )
            return
        settings = await http_settings(mirror, url, Terms())
        if not self.credentials:
            kept = tuple((key, value) for key, value in settings.items() if key in _ANYBODYS)
            terms += Terms(settings=kept)
        proxy = _proxy(settings.get("http.proxy"), server.host)
        if proxy:
            # It decides to where it connects.
            pinned = Terms() if self.trusted else await self._pinned(url, server)
            yield terms + _through(url, proxy) + pinned, None
            return
        gate = Gateway(server, self.allowed, trusted=self.trusted, elsewhere=elsewhere)
        async with gate.opened():
            yield terms + _through(url, gate.url) + _GATE, gate

    async def _pinned(self, url: str, server: Server) -> Terms:
        """Terms on which git connects to an address that was judged, or has a proxy connect to the server."""
        try:
            addresses = [str(address) for address in await judged(server, self.allowed)]
        except ValueError as error:
            raise GitError(str(error)) from None
        if server.scheme == "https":
            return Terms(settings=_http(url, "followRedirects", "false"))
        if server.scheme == "git":
            address = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
            path = urlsplit(url)
            there = f"git://{address}:{server.port}{url.partition('://')[2][len(path.netloc) :]}"
            return Terms(
                {"GIT_OVERRIDE_VIRTUAL_HOST": str(server), "GIT_PROXY_COMMAND": None},
                ((f"url.{there}.insteadOf", self.url),),
            )
        return Terms()  # ssh: the host that the pipeline names, at another port, with the key that is known


async def rewritten(url: str, cwd: Path, terms: Terms) -> str:
    """The URL that git uses instead, as `url.<base>.insteadOf` has it. Raises `GitError`."""
    return (await git("ls-remote", "--get-url", url, cwd=cwd, terms=terms)).strip()


def way_to(url: str, within: Way | None, login: Login | None, allowed: Allowed) -> Way:
    """The way to a URL that was checked, which the repository at the end of `within` names, or a pipeline.

    Raises ValueError with a sentence.
    """
    server = server_of(url)
    if within is None:
        return Way(url, server, login=login, allowed=allowed)
    if server is None:
        if within.server is not None:
            raise ValueError("only a file:// repository may have submodules by file://")
        return Way(url, server, own=False, allowed=allowed)
    named = is_named(allowed, server)
    parent = within.server
    same_host = parent is not None and server.host == parent.host
    way = Way(
        url,
        server,
        trusted=named or (within.trusted and server.is_at(parent)),
        credentials=named or (within.credentials and same_host),
        own=False,
        login=login,
        allowed=allowed,
    )
    if server.scheme == "ssh" and not way.credentials:
        raise ValueError(
            f"{server.host} is not the host of the repository that names it, so no ssh key is used for it; "
            f"write its URL with https://, or {SETTING}"
        )
    return way


def _without_user(mirror: Path) -> Terms:
    """Terms that leave out all that the server's user has configured: helpers, headers, keys, `.netrc`."""
    return Terms(
        {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "HOME": str(mirror.absolute()),
            "XDG_CONFIG_HOME": str(mirror.absolute()),
            "NETRC": None,
            "GIT_SSL_CERT": None,
            "GIT_SSL_KEY": None,
            "GIT_PROXY_COMMAND": None,
        }
    )


_GATE = Terms({"GIT_HTTP_PROXY_AUTHMETHOD": "basic"})


def _through(url: str, proxy: str) -> Terms:
    """Terms on which git connects to https servers through a proxy alone, whatever is configured."""
    return Terms(
        {"no_proxy": None, "NO_PROXY": None},
        (*_http(url, "proxy", proxy), ("remote.origin.proxy", proxy)),
    )


def _http(url: str, name: str, value: str) -> tuple[tuple[str, str], ...]:
    """A setting for all servers, and for this URL, where one for its server alone would count for more."""
    return (f"http.{name}", value), (f"http.{url}.{name}", value)


def _proxy(configured: str | None, host: str) -> str:
    """The proxy by which git would connect to a host, empty where it would use none.

    `configured` is the `http.proxy` of the server's user for it.
    """
    said = (os.environ[name] for name in _PROXIES if name in os.environ)
    proxy = configured if configured is not None else next(said, "")
    return "" if _is_without_proxy(host) else proxy


def _is_without_proxy(host: str) -> bool:
    """Whether `no_proxy` names the host, its domain or its network."""
    for entry in re.split(r"[\s,]+", os.environ.get("no_proxy", os.environ.get("NO_PROXY", "")).lower()):
        name = entry.strip(".[]")
        if entry == "*" or (name and f".{host}".endswith(f".{name}")):
            return True
        with contextlib.suppress(ValueError, TypeError):
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
    return False


async def http_settings(cwd: Path, url: str, terms: Terms) -> dict[str, str]:
    """What is configured below `http` for a URL, by names in lower case."""
    try:
        listing = await git("config", "--null", "--get-urlmatch", "http", url, cwd=cwd, terms=terms)
    except GitError:
        return {}
    entries = (entry.partition("\n") for entry in listing.split("\0") if entry)
    return {key: value for key, _, value in entries}


async def ssh_command(mirror: Path) -> str | None:
    """What the server's user has configured for ssh; where the repository lies may be a condition of it."""
    try:
        return (await git("config", "--get", "core.sshCommand", cwd=mirror)).strip()
    except GitError:
        return None
