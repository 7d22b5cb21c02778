"""Serves the files that pages are made of, from memory and in front of the framework.

Pages name them below a folder that has the digest of all of them in its name. So a browser never asks for one
again, and after an upgrade it takes none of the previous version from its cache.
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
from rapidflow_web.web.direct_answers import send_whole, tells_of_body
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
"""Headers that the framework deals with, where a file is asked for by an address without a digest."""
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
    """Serves static files; gives all other requests to `app`, also those for a file that is not there.

    `patience` is the seconds that a client has to take one.
    """

    def __init__(self, app: ASGIFramework, access: Access, patience: float) -> None:
        self._app = app
        self._access = access
        self._patience = patience
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
            # The framework knows files by their names alone.
            scope["path"] = _ROOT + name
        file = self._files.get(name)
        asked = dict(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        if file is None or not self._is_plain(scope, asked, digest is not None):
            await self._app(scope, receive, send)
            return
        headers = [*_HEADERS, (b"cache-control", lifetime.encode()), (b"etag", f'"{file.etag}"'.encode())]
        if parse_etags(asked.get(b"if-none-match", b"").decode("latin-1")).contains_weak(file.etag):
            await send_whole(send, 304, headers, b"", self._patience)
            return
        headers += [
            (b"content-type", file.content_type.encode()),
            (b"content-length", b"%d" % len(file.body)),
        ]
        body = b"" if scope["method"] == "HEAD" else file.body
        await send_whole(send, 200, headers, body, self._patience)

    def _is_plain(self, scope: HTTPScope, asked: dict[bytes, bytes], has_digest: bool) -> bool:
        """Whether the answer to a request is the file or "not modified"."""
        return (
            scope["method"] in ("GET", "HEAD")
            # By such an address a part of a file, or one of another version, is never to be cached.
            and (has_digest or _OF_FRAMEWORK.isdisjoint(asked))
            and not any(tells_of_body(name, value) for name, value in asked.items())
            and self._access.hosts.knows(asked.get(b"host", b"").decode("latin-1"))
        )


_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
