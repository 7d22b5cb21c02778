"""Reads the text of each setting. Each parser raises ValueError with what to write instead."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from rapidflow_web import addresses
from rapidflow_web.pipeline import limits
from rapidflow_web.pipeline.durations import parse_duration
from rapidflow_web.pipeline.mail_addresses import is_address


@dataclass(frozen=True, slots=True)
class Bind:
    """Where the server listens. Port 0 lets the system choose one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return addresses.parse(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mails are handed over. `tls`: `implicit` encrypts from the start, `starttls` before the login."""

    host: str
    port: int
    tls: Literal["implicit", "starttls", "none"]
    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Sender:
    """From whom mails are."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        """The part after the @."""
        return self.address.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine of the list of machines: what it is called, and where it is reached."""

    name: str
    address: str


def one_of(*words: str) -> Callable[[str], str]:
    """A parser that takes one of `words`."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"use {' or '.join(words)}")
        return text

    return parse


def whole(low: int, high: int, beside: str = "") -> Callable[[str], int]:
    """A parser that takes a whole number from `low` to `high`; `beside` says what else may be written."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 10 or not low <= int(text) <= high:
            raise ValueError(f"use a whole number from {low} to {high}{beside}")
        return int(text)

    return parse


def bind(text: str) -> Bind:
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if (
        not separator
        or not host
        or "/" in host
        or not port.isascii()
        or not port.isdigit()
        or int(port) > 65535
    ):
        raise ValueError("write it as host:port, for example 127.0.0.1:3000")
    return Bind(host, int(port))


_ENGINE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def engines(text: str) -> tuple[Engine, ...]:
    found: list[Engine] = []
    for entry in re.split(r"[\s,]+", text.strip(" ,\t\n")) if text.strip(" ,\t\n") else ():
        name, separator, address = entry.partition("=")
        if not separator or not _ENGINE_NAME.fullmatch(name):
            raise ValueError(f"write '{entry}' as name=address, such as build1=tcp://10.0.0.5:2376")
        _check_engine_address(address)
        if any(name == one.name for one in found):
            raise ValueError(f"two engines have the name {name}")
        if any(address == one.address for one in found):
            raise ValueError(f"two engines have the address {address}")
        found.append(Engine(name, address))
    return tuple(found)


def _check_engine_address(address: str) -> None:
    scheme, _, rest = address.partition("://")
    try:
        if scheme == "unix" and rest.startswith("/"):
            return
        parts = urlsplit(address)
        if scheme == "tcp" and parts.hostname and parts.port and parts.netloc == rest and "@" not in rest:
            return
    except ValueError:
        pass  # what it says of ports is for programmers
    raise ValueError(f"'{address}' is not the address of an engine; use tcp://host:port or unix:///path")


def folder(text: str) -> Path:
    if not text:
        raise ValueError("name a folder")
    if text[0] in "\"'":
        # Shells take quotes away; files such as those of `docker run --env-file` do not.
        raise ValueError("write it without quotes")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError("'~' names no home folder; write the whole path") from None


def roots(text: str) -> tuple[str, ...]:
    roots = [part for part in text.split(":") if part]
    for root in roots:
        if not root.startswith("/"):
            raise ValueError(f"'{root}' is not an absolute path")
    return tuple(posixpath.normpath("/" + root.strip("/")) for root in roots)


_POSTGRES_OPTION = re.compile(
    "application_name|command_timeout|max_cacheable_statement_size|max_cached_statement_lifetime|"
    "max_inactive_connection_lifetime|max_queries|max_?size|min_?size|schema|ssl|statement_cache_size|timeout"
)
"""What the driver for PostgreSQL and Tortoise take; it fails on any other with a traceback."""


def database_url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if text and not ((scheme == "postgres" and rest) or (scheme == "sqlite" and rest.startswith("/"))):
        raise ValueError("write it as sqlite:///absolute/path or postgres://user:password@host/name")
    if scheme == "postgres":
        _check_postgres_url(text)
    return text


def _check_postgres_url(text: str) -> None:
    try:
        url = urlsplit(text)
        options = [name for name, _ in parse_qsl(url.query, keep_blank_values=True)]
        whole = url.port != 0 and not url.fragment and "/" not in url.path[1:]
    except ValueError:
        options, whole = [], False
    if not whole:
        raise ValueError(
            "write it as postgres://user:password@host:5432/name, with a character like / or # in a password "
            "as %2F or %23"
        )
    for name in options:
        if not _POSTGRES_OPTION.fullmatch(name):
            raise ValueError(
                f"its option {name[:60]!r} is not known; set the variables that psql reads, such as "
                "PGSSLMODE, instead"
            )


def network(text: str) -> str:
    if text in ("host", "none", "default"):
        raise ValueError("use closed, or the name of a network that the engine has, such as bridge")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        raise ValueError("use closed, or the name of a network, which has letters, digits, '_', '.' and '-'")
    return text


def address_list(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_address(part.strip())) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"{error}; write addresses like 10.0.0.2") from None


def builds(text: str) -> int | None:
    return None if text == "none" else whole(1, 1_000_000_000, ", or none")(text)


def age(text: str) -> int | None:
    if text == "none":
        return None
    if text.endswith("d") and text[:-1].isascii() and text[:-1].isdigit() and int(text[:6].rstrip("d")) >= 1:
        return int(text[:6].rstrip("d")) * 24 * 3600
    try:
        # A number alone would be seconds, where days were meant.
        return parse_duration("" if text.isdigit() else text)
    except ValueError:
        raise ValueError("write it as days like 90d, hours like 12h, or none") from None


def size(text: str) -> int | None:
    return None if text == "none" else limits.parse_size(text)


def uploads(text: str) -> int:
    return 0 if text == "off" else limits.parse_size(text)


def keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(",") if key.strip())
    if not all(re.fullmatch(r"[A-Za-z0-9_-]{43}=", key) for key in keys):
        raise ValueError("it is not a key; make one with 'rapidflow secret key'")
    return keys


def host_names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise ValueError(f"'{name}' is not a host name; write names like build.example.org")
    return names


def header(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", text):
        raise ValueError("name a header, such as X-Forwarded-User")
    return text


def networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    try:
        return tuple(addresses.parse_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"{error}; write addresses like 10.0.0.2 or 10.0.0.0/24") from None


def source_hosts(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network | str, ...]:
    found: list[ipaddress.IPv4Network | ipaddress.IPv6Network | str] = []
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError:
            if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*(:[0-9]{1,5})?", part):
                raise ValueError(
                    f"'{part}' is not a host; write git.example.org, example.org:8443 or 10.0.0.0/24"
                ) from None
            found.append(part)
    return tuple(found)


def grace(text: str) -> int:
    return 0 if text in ("0", "0s") else parse_duration(text)


def mail_server(text: str) -> MailServer | None:
    if not text:
        return None
    usage = (
        "write it as smtp://user:password@host:587 or smtps://user:password@host; "
        "characters like / in a password are written as %2F"
    )
    try:
        url = urlsplit(text)
        port = url.port
        query = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
    except ValueError:
        raise ValueError(usage) from None
    if url.scheme not in ("smtp", "smtps") or not url.hostname or url.path not in ("", "/") or url.fragment:
        raise ValueError(usage)
    starttls = query.pop("starttls", "always")
    if query or starttls not in ("always", "never"):
        raise ValueError("its only option is ?starttls=always or ?starttls=never")
    if url.scheme == "smtps" and url.query:
        raise ValueError("smtps is encrypted from the start; leave out starttls")
    user = unquote(url.username) if url.username else None
    password = unquote(url.password) if url.password else None
    if (user is None) != (password is None):
        raise ValueError("a user needs a password, and a password a user")
    if url.scheme == "smtps":
        return MailServer(url.hostname, port or 465, "implicit", user, password)
    tls = "starttls" if starttls == "always" else "none"
    return MailServer(url.hostname, port or 587, tls, user, password)


def sender(text: str) -> Sender | None:
    if not text:
        return None
    name, address = parseaddr(text)
    if not is_address(address) or not text.isprintable():
        raise ValueError("write it as builds@example.com or RapidFlow <builds@example.com>")
    return Sender(name or "RapidFlow", address)


def swarm(text: str) -> str:
    """The engine of a swarm's manager: its socket, or its address; empty for none."""
    if not text:
        return ""
    url = urlsplit(text)
    if url.scheme == "unix" and not url.netloc and url.path.strip("/"):
        return text
    try:
        addressed = url.scheme == "tcp" and url.hostname and url.port and not url.path.strip("/")
    except ValueError:
        addressed = False
    if not addressed:
        raise ValueError("write unix:///var/run/docker.sock or tcp://HOST:2376")
    return text.rstrip("/")
