"""Remotes of git: with whose credentials, and over which addresses, git reaches a repository."""

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
from rapidflow_web.source.egress_proxy import EgressProxy
from rapidflow_web.source.git import GitError, GitOptions, git, login_options, without_credentials
from rapidflow_web.source.servers import SETTING, Allowed, Server, is_named, judged, server_of

T = TypeVar("T")

_PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""The first that is there counts for git, also an empty one, which stands for no proxy."""
_NOT_CREDENTIALS = ("http.proxy", "http.sslcainfo", "http.sslcapath", "http.sslverify", "http.proxysslcainfo")
"""What of the configuration of the server's user counts for every server, for it is no credential."""


@dataclass(frozen=True, slots=True)
class Remote:
    """The remote of one repository. `server` is None for a folder of this machine.

    A `trusted` one may have any address, for an administrator named it. With `credentials` git uses what the
    server's user has configured. `own` is whether the pipeline itself names it. What an `anonymous` one names
    is fetched without credentials, wherever it is. The `url` has no password.
    """

    url: str
    server: Server | None
    trusted: bool = True
    credentials: bool = True
    own: bool = True
    anonymous: bool = False
    login: Login | None = field(default=None, repr=False)
    allowed: Allowed = ()

    def offline_options(self, mirror: Path) -> GitOptions:
        """The options on which git works with what was fetched, contacting nobody."""
        return GitOptions() if self.credentials else _without_user(mirror)

    def _options(self, mirror: Path) -> GitOptions:
        user = GitOptions() if self.credentials else _without_user(mirror)
        return user + login_options(self.login) + GitOptions(quiet=not self.own)

    async def _ssh_options(self, mirror: Path) -> GitOptions:
        """Those for what is reached by ssh: the `core.sshCommand` of the server's user counts, too."""
        return GitOptions(ssh.strict(await ssh_command(mirror)) if self.credentials else {})

    async def contact(
        self, mirror: Path, action: Callable[[GitOptions], Awaitable[T]], *, onward: bool = False
    ) -> T:
        """What `action` returns, which contacts the server with the options it is given.

        A server to which this one redirects gets no credentials, unless it is to send git `onward`. Raises
        `GitError`, also where a server may not be contacted.
        """
        for remote, elsewhere in ((self, onward), (replace(self, credentials=False), True)):
            egress: EgressProxy | None = None
            try:
                async with remote._opened(mirror, elsewhere) as (options, egress):
                    return await action(options)
            except GitError as error:
                if egress is not None and egress.redirects and not elsewhere:
                    continue  # to a server that may be contacted, and is given no credentials
                if egress is not None and egress.problem is not None:
                    raise GitError(
                        f"unable to access '{without_credentials(self.url)}': {egress.problem}"
                    ) from None
                raise error
        raise AssertionError("the second try has returned or raised")

    @contextlib.asynccontextmanager
    async def _opened(
        self, mirror: Path, elsewhere: bool
    ) -> AsyncGenerator[tuple[GitOptions, EgressProxy | None]]:
        options = self._options(mirror)
        if self.server is None:
            yield options + GitOptions(ssh.strict(None)), None
            return
        # All that follows is about the URL from which git really fetches.
        url = await rewritten(self.url, mirror, options)
        server = server_of(url)
        if server is None or server.scheme != "https":
            options += await self._ssh_options(mirror)
            yield (
                options
                + (GitOptions() if server is None or self.trusted else await self._pinned(url, server)),
                None,
            )
            return
        settings = await http_settings(mirror, url, GitOptions())
        if not self.credentials:
            kept = tuple((key, value) for key, value in settings.items() if key in _NOT_CREDENTIALS)
            options += GitOptions(settings=kept)
        proxy = _proxy(settings.get("http.proxy"), server.host)
        if proxy:
            # It decides to where it connects.
            pinned = GitOptions() if self.trusted else await self._pinned(url, server)
            yield options + _through(url, proxy) + pinned, None
            return
        egress = EgressProxy(server, self.allowed, trusted=self.trusted, elsewhere=elsewhere)
        async with egress.opened():
            yield options + _through(url, egress.url) + _EGRESS_AUTH, egress

    async def _pinned(self, url: str, server: Server) -> GitOptions:
        """Options with which git connects to a judged address, or has a proxy connect to the server."""
        try:
            addresses = [str(address) for address in await judged(server, self.allowed)]
        except ValueError as error:
            raise GitError(str(error)) from None
        if server.scheme == "https":
            return GitOptions(settings=_http(url, "followRedirects", "false"))
        if server.scheme == "git":
            address = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
            path = urlsplit(url)
            there = f"git://{address}:{server.port}{url.partition('://')[2][len(path.netloc) :]}"
            return GitOptions(
                {"GIT_OVERRIDE_VIRTUAL_HOST": str(server), "GIT_PROXY_COMMAND": None},
                ((f"url.{there}.insteadOf", self.url),),
            )
        # ssh: the host that the pipeline names, at another port, with the key that is known
        return GitOptions()


async def rewritten(url: str, cwd: Path, options: GitOptions) -> str:
    """The URL that git uses instead, as `url.<base>.insteadOf` has it. Raises `GitError`."""
    return (await git("ls-remote", "--get-url", url, cwd=cwd, options=options)).strip()


def remote_for(url: str, within: Remote | None, login: Login | None, allowed: Allowed) -> Remote:
    """The remote of a URL that was checked, which the repository of `within` names, or a pipeline.

    Raises ValueError with a sentence.
    """
    server = server_of(url)
    if within is None:
        return Remote(url, server, login=login, allowed=allowed)
    if server is None:
        if within.server is not None:
            raise ValueError("only a file:// repository may have submodules by file://")
        if within.anonymous:
            raise ValueError("a working tree, or a commit from a fork, may have no submodules by file://")
        return Remote(url, server, own=False, allowed=allowed)
    named = is_named(allowed, server)
    parent = within.server
    same_host = parent is not None and server.host == parent.host
    remote = Remote(
        url,
        server,
        trusted=named or (within.trusted and server.is_at(parent)),
        credentials=not within.anonymous and (named or (within.credentials and same_host)),
        own=False,
        anonymous=within.anonymous,
        login=login,
        allowed=allowed,
    )
    if server.scheme == "ssh" and not remote.credentials:
        raise ValueError(
            f"{server.host} is not the host of the repository that names it, so no ssh key is used for it; "
            f"write its URL with https://, or {SETTING}"
        )
    return remote


def _without_user(mirror: Path) -> GitOptions:
    """Options that leave out all that the server's user configured: helpers, headers, keys, `.netrc`."""
    return GitOptions(
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


_EGRESS_AUTH = GitOptions({"GIT_HTTP_PROXY_AUTHMETHOD": "basic"})


def _through(url: str, proxy: str) -> GitOptions:
    """Options with which git connects to https servers through a proxy alone, whatever is configured."""
    return GitOptions(
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


async def http_settings(cwd: Path, url: str, options: GitOptions) -> dict[str, str]:
    """What is configured below `http` for a URL, by names in lower case."""
    try:
        listing = await git("config", "--null", "--get-urlmatch", "http", url, cwd=cwd, options=options)
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
