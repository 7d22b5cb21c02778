"""Serves the files that pages are made of, from memory and in front of the framework.

Pages name them below a folder that has the digest of all of them in its name. So a browser never asks for one
again, and after an upgrade it asks for all: no page runs with the scripts of another version.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from typing import cast

from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from werkzeug.http import parse_etags

from rapidflow_web.accounts.authentication import Access
from rapidflow_web.web import assets
from rapidflow_web.web.security_headers import HEADERS, UNCACHED

_ROOT = "/static/"
_DIGEST = re.compile(r"([0-9a-f]{16})/")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}
"""The framework serves all other files, such as licenses, which no page asks for."""
_OF_FRAMEWORK = frozenset({b"range", b"if-range", b"if-match", b"if-modified-since", b"if-unmodified-since"})
"""Headers of requests that no page makes."""
_FOR_GOOD = "public, max-age=31536000, immutable"
_FOR_HALF_A_DAY = "public, max-age=43200"
_NOT_AT_ALL = UNCACHED["Cache-Control"]


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    etag: str
    """Without quotes."""


@functools.cache
def _files() -> dict[str, _File]:
    """All files by their path below the folder, such as js/page.js."""
    folder = assets.folder("static")
    found: dict[str, _File] = {}
    for path in sorted(folder.rglob("*.*")):
        if (content_type := _TYPES.get(path.suffix)) is not None:
            body = path.read_bytes()
            name = path.relative_to(folder).as_posix()
            found[name] = _File(body, content_type, hashlib.sha256(body).hexdigest()[:32])
    return found


@functools.cache
def _digest() -> str:
    named = "".join(f"{name} {file.etag}\n" for name, file in _files().items())
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def address(name: str) -> str:
    """The path at which a browser gets a static file, such as js/page.js, and may keep it for good."""
    return f"{_ROOT}{_digest()}/{name}"


class StaticFiles:
    """Serves static files; gives all other requests to `app`, also those for a file that is not there."""

    def __init__(self, app: ASGIFramework, access: Access) -> None:
        self._app = app
        self._access = access
        self._files = _files()

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_ROOT):
            await self._app(scope, receive, send)
            return
        name, lifetime = scope["path"][len(_ROOT) :], _FOR_HALF_A_DAY
        if (digest := _DIGEST.match(name)) is not None:
            # A page that was open during an upgrade may still ask for what it needs by the old address.
            lifetime = _FOR_GOOD if digest[1] == _digest() else _NOT_AT_ALL
            name = name[digest.end() :]
            scope["path"] = _ROOT + name
        file = self._files.get(name)
        etags = self._etags(scope) if file is not None and scope["method"] in ("GET", "HEAD") else None
        if file is None or etags is None:
            await self._app(scope, receive, send)
            return
        is_known = bool(etags) and parse_etags(etags).contains_weak(file.etag)
        headers = [
            *_HEADERS,
            (b"cache-control", lifetime.encode()),
            (b"etag", f'"{file.etag}"'.encode()),
        ]
        if not is_known:
            headers += [
                (b"content-type", file.content_type.encode()),
                (b"content-length", b"%d" % len(file.body)),
            ]
        body = b"" if is_known or scope["method"] == "HEAD" else file.body
        await send(
            {
                "type": "http.response.start",
                "status": 304 if is_known else 200,
                "headers": headers,
                "trailers": False,
            }
        )
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def _etags(self, scope: HTTPScope) -> str | None:
        """What the browser has, as it says; None where the framework is to answer."""
        found = dict(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        if not _OF_FRAMEWORK.isdisjoint(found):
            return None
        if not self._access.hosts.knows(found.get(b"host", b"").decode("latin-1")):
            return None
        return found.get(b"if-none-match", b"").decode("latin-1")


_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
