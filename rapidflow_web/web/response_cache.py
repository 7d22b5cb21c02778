"""Caches responses that can't change any more."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable

from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope

from rapidflow_web.accounts.authentication import Access
from rapidflow_web.web import security_headers

_LIMIT = 16 * 1024 * 1024
_DETAILS = re.compile(r"/jobs/([1-9][0-9]{0,17})/details")


class ResponseCache:
    """Response bodies by the id of what they show, up to `limit` bytes; evicts the least recently used."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._bodies: OrderedDict[int, bytes] = OrderedDict()

    def get(self, number: int) -> bytes | None:
        """The body; None if it is not cached."""
        body = self._bodies.get(number)
        if body is not None:
            self._bodies.move_to_end(number)
        return body

    def put(self, number: int, body: bytes) -> None:
        """Caches a body, which must be final."""
        self._size += len(body) - len(self._bodies.pop(number, b""))
        self._bodies[number] = body
        while self._size > self._limit:
            _, evicted = self._bodies.popitem(last=False)
            self._size -= len(evicted)

    def evict(self, number: int) -> None:
        """Drops a body, because what it shows is gone."""
        self._size -= len(self._bodies.pop(number, b""))


class CachedDetails:
    """Serves the cached details of finished jobs; gives all other requests to `app`.

    In front of the framework, which takes longer to find out whom to ask than all the rest takes together.
    """

    def __init__(self, app: ASGIFramework, cache: ResponseCache, access: Access) -> None:
        self._access = access
        self._app = app
        self._cache = cache
        headers = {"Content-Type": "application/json", **security_headers.UNCACHED}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and not scope["query_string"]:
            match = _DETAILS.fullmatch(scope["path"])
            body = self._cache.get(int(match[1])) if match else None
            if body is not None and self._may_see(scope["headers"]):
                headers = [*self._headers, (b"content-length", b"%d" % len(body))]
                await send(
                    {"type": "http.response.start", "status": 200, "headers": headers, "trailers": False}
                )
                await send({"type": "http.response.body", "body": body, "more_body": False})
                return
        await self._app(scope, receive, send)

    def _may_see(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether the client is known already to have access; if not, `web/gate.py` finds out."""
        token = None
        for name, value in headers:
            if name == b"host":
                if not self._access.hosts.knows(value.decode("latin-1")):
                    return False
            elif name == b"authorization":
                scheme, _, token = value.decode("latin-1").partition(" ")
                if scheme.lower() != "bearer":
                    return False
                token = token.strip()
        return self._access.sees_all(token)
