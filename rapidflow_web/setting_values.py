"""Reads the text of each setting. Each parser raises ValueError with what to write instead."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rapidflow_web import addresses
from rapidflow_web.pipeline import limits
from rapidflow_web.pipeline.durations import parse_duration


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
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("write it as host:port, for example 127.0.0.1:3000")
    return Bind(host, int(port))


def folder(text: str) -> Path:
    if not text:
        raise ValueError("name a folder")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError("there is no home folder that '~' could stand for") from None


def roots(text: str) -> tuple[str, ...]:
    roots = [part for part in text.split(":") if part]
    for root in roots:
        if not root.startswith("/"):
            raise ValueError(f"'{root}' is not an absolute path")
    return tuple(posixpath.normpath("/" + root.strip("/")) for root in roots)


def database_url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if text and not ((scheme == "postgres" and rest) or (scheme == "sqlite" and rest.startswith("/"))):
        raise ValueError("write it as sqlite:///absolute/path or postgres://user:password@host/name")
    return text


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


def keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(",") if key.strip())
    if not all(re.fullmatch(r"[A-Za-z0-9_-]{43}=", key) for key in keys):
        raise ValueError("it is no key; make one with 'rapidflow secret key'")
    return keys


def host_names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise ValueError(f"'{name}' is no name of a host; write names like build.example.org")
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
                    f"'{part}' is no host; write hosts like git.example.org, example.org:8443 or 10.0.0.0/24"
                ) from None
            found.append(part)
    return tuple(found)


def grace(text: str) -> int:
    return 0 if text in ("0", "0s") else parse_duration(text)
