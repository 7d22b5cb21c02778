"""Passwords in clone URLs: taken out of the URL and of the text that it stands in. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import yaml

from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline.document import compose, problem

_HTTPS = "https://"
_BOM = "\ufeff"
_ANYBODY = "git"
"""The user of a URL that names none: servers that take a token as the password do not ask who it is."""

_LEAST_TOKEN = 26
"""Characters of a user that is a token: servers take one in the place of the user, too. None is shorter."""
_NO_PASSWORDS = ("", "x-oauth-basic")


@dataclass(frozen=True, slots=True)
class Login:
    """With what source is fetched from one server. `origin` is like `https://example.com:8443`."""

    origin: str
    user: str
    password: str = field(repr=False)

    def fits(self, url: str) -> bool:
        """Whether it may be used for a URL: the same server, and no other user."""
        return origin(url) == self.origin and _user(url) in ("", self.user)


def login_for(url: str, password: str) -> Login:
    """The login with this password for the server and the user of an `https://` URL.

    Raises ValueError with a sentence.
    """
    server = origin(url)
    if server is None:
        raise ValueError("only a repository whose URL begins with https:// is fetched with a password")
    user = _user(url) or _ANYBODY
    if any(ord(character) < 32 or ord(character) == 127 for character in user + password):
        raise ValueError("a password for git is one line without control characters")
    return Login(server, user, password)


def login_in(url: str) -> Login | None:
    """The login that an `https://` URL has in itself; None for one without a password. Raises ValueError."""
    password = _parts(url)[3]
    return login_for(without_password(url), unquote(password)) if password and origin(url) else None


def origin(url: str) -> str | None:
    """Scheme, host and port of an `https://` URL; None for any other."""
    if not url.startswith(_HTTPS):
        return None
    try:
        parts = urlsplit(url)
        port = "" if parts.port in (None, 443) else f":{parts.port}"
    except ValueError:
        return None
    host = parts.hostname or ""
    return f"{_HTTPS}{f'[{host}]' if ':' in host else host}{port}"


def without_password(url: str) -> str:
    """The URL without the password in it; the user stays."""
    begin, written, user, password = _parts(url)
    if not password:
        return url
    rest = url[len(f"{begin}{written}@") :]
    return f"{begin}{user}@{rest}" if user else f"{begin}{rest}"


def _parts(url: str) -> tuple[str, str, str, str]:
    """What is before user and password, both as they stand in the URL, the user, and the password."""
    scheme, separator, rest = url.partition("://")
    authority = rest.partition("/")[0]
    written, at, _ = authority.rpartition("@")
    if not separator or not at:
        return url, "", "", ""
    user, _, password = written.partition(":")
    if scheme == "https" and password in _NO_PASSWORDS and len(user) >= _LEAST_TOKEN:
        user, password = "", user
    return f"{scheme}{separator}", written, user, password


def _user(url: str) -> str:
    return unquote(_parts(url)[2])


def taken_out(config: str) -> tuple[str, str | None]:
    """The text of a pipeline without the password of its clone URL, and the URL with it, if there was one.

    All else in the text stays as it is, byte for byte. Raises `Invalid`.
    """
    bom = config[: config.startswith(_BOM)]
    config = config[len(bom) :]  # marks don't count it
    node = _clone_url(config)
    if node is None or (public := without_password(node.value)) == node.value:
        return bom + config, None
    start: Any = node.start_mark
    end: Any = node.end_mark
    written = config[start.index : end.index]
    edited = f"{config[: start.index]}{_rewritten(written, node, public)}{config[end.index :]}"
    changed = _clone_url(edited)
    if changed is None or changed.value != public:
        message = "the clone URL has a password that can't be taken out; write the URL on one line"
        raise Invalid([problem("repo_name", start, message)])
    return bom + edited, node.value


def _clone_url(config: str) -> yaml.ScalarNode | None:
    root = compose(config)
    pairs = cast(list[tuple[yaml.Node, yaml.Node]], root.value if isinstance(root, yaml.MappingNode) else [])
    for key, value in pairs:
        if isinstance(key, yaml.ScalarNode) and key.value == "repo_name":
            return value if isinstance(value, yaml.ScalarNode) else None
    return None


def _rewritten(written: str, node: yaml.ScalarNode, public: str) -> str:
    begin, written_login, user, _ = _parts(node.value)
    secret = f"{begin}{written_login}@"
    if secret in written:
        return written.replace(secret, f"{begin}{user}@" if user else begin, 1)
    # Quoted, with signs that only mean something there: quoted anew, with what is before it.
    style = str(node.style)
    quoted = {'"': json.dumps(public), "'": "'{}'".format(public.replace("'", "''"))}
    return written.partition(style)[0] + quoted[style] if style in quoted else written
