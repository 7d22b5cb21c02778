"""Caches responses to those who read, until what they are made from changes.

Many look at the same pages and lists, and ask for them again every other second. The cache is in front of
the framework, which takes longer to find out whom to ask than all the rest takes together.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import cast

from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPResponseStartEvent,
    HTTPScope,
    Scope,
)
from quart import g, request
from werkzeug.http import parse_etags, unquote_etag
from werkzeug.sansio.http import parse_cookie

from rapidflow_web import metrics
from rapidflow_web.accounts.authentication import Access
from rapidflow_web.accounts.roles import Actor
from rapidflow_web.db import changes
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.visibility import Visibility
from rapidflow_web.settings import Settings
from rapidflow_web.web.direct_answers import send_whole, tells_of_body
from rapidflow_web.web.gate import COOKIE
from rapidflow_web.web.requests import is_page

_LIMIT = 16 * 1024 * 1024
_LARGEST = 1024 * 1024
_LONGEST_QUERY = 512
"""Bytes. No page asks for more, and those who make up queries are to fill no memory."""
_OVERHEAD = 1024
"""Bytes that a response takes besides its body, its headers and its key, about."""
_NOW = re.compile(rb'\s*<!doctype html>\s*<html [^>]*?data-now="([0-9]{13})"')
"""Where a page has the time at which it was sent."""
FAVOURITES = "rapidflow_favourites"
"""The one cookie that pages are made from, besides the session."""
LONGEST_FAVOURITES = 2000
"""Characters of that cookie; the rest of a longer one has no effect."""

Headers = tuple[tuple[bytes, bytes], ...]
Key = tuple[str, *tuple[Hashable, ...]]
"""A path, and whatever else makes a difference."""


@dataclass(frozen=True, slots=True)
class Cached:
    """A response. `state` is what it was made from; None: it can't change any more."""

    body: bytes
    headers: Headers = ()
    state: Hashable = None
    etag: str | None = None
    """Without quotes."""
    now_at: int | None = None
    """Where the body has the time at which it is sent, in milliseconds since 1970."""


class ResponseCache:
    """Responses up to `limit` bytes; evicts the least recently used."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._responses: OrderedDict[Key, Cached] = OrderedDict()
        self._keys: dict[str, set[Key]] = {}
        self.evictions = 0
        """How often jobs were dropped because they are gone."""

    def get(self, key: Key) -> Cached | None:
        """The response; None if it is not cached."""
        found = self._responses.get(key)
        if found is not None:
            self._responses.move_to_end(key)
        return found

    def has(self, path: str) -> bool:
        """Whether there is any response for this path, be it out of date or for others."""
        return path in self._keys

    def put(self, key: Key, response: Cached) -> None:
        """Caches a response, in place of an earlier one."""
        self._drop(key)
        self._size += _size(key, response)
        self._responses[key] = response
        self._keys.setdefault(key[0], set()).add(key)
        while self._size > self._limit:
            self._drop(next(iter(self._responses)))

    def evict(self, job_id: int) -> None:
        """Drops what shows a job, because it is gone."""
        self.evictions += 1
        for part in ("", "/details"):
            for key in tuple(self._keys.get(f"/jobs/{job_id}{part}", ())):
                self._drop(key)

    def _drop(self, key: Key) -> None:
        if (dropped := self._responses.pop(key, None)) is not None:
            self._size -= _size(key, dropped)
            self._keys[key[0]].discard(key)
            if not self._keys[key[0]]:
                del self._keys[key[0]]


def _size(key: Key, response: Cached) -> int:
    return _OVERHEAD + _memory(key) + _memory(response.headers) + len(response.body)


def _memory(value: object) -> int:
    """The bytes of a text or number, and of those in a tuple or a set of numbers."""
    if isinstance(value, Visibility):
        return _memory((value.hidden, value.only))
    size = sys.getsizeof(value)
    if isinstance(value, frozenset):
        size += 32 * len(cast(frozenset[int], value))
    elif isinstance(value, tuple):
        size += sum(map(_memory, cast(tuple[object, ...], value)))
    return size


@dataclass(slots=True)
class _Making:
    """A response that is being made, from `state` or something newer."""

    key: Key | None
    """By which others find it; None where that was not known yet."""
    state: Hashable
    evictions: int
    """How many there were when it began: later ones may be of what it shows."""
    actor: Actor | None = None
    """Who asks, once the response is known to be cacheable."""
    is_final: bool = False
    made: asyncio.Future[Cached | None] = field(default_factory=asyncio.Future["Cached | None"])


_making: ContextVar[_Making | None] = ContextVar("_making", default=None)


def cacheable(*, final: bool = False) -> None:
    """Lets the response to this request be sent to whoever sees the same, as long as nothing has changed.

    It must be made from nothing but the database, the settings and what `server/app.py` adds to them; with
    `final` from what can't change any more. To be called before the response is made: it is made whole also
    for a browser that has it, and `_send` decides what the browser gets.
    """
    making = _making.get()
    if making is not None:
        making.is_final, making.actor = final, g.actor
        request.headers.pop("If-None-Match", None)


class CachedResponses:
    """Serves responses from the cache; gives all other requests to `app`.

    `state` tells of what is not in the database and responses are made from; `patience` is the seconds that
    a client has to take a response.
    """

    def __init__(
        self,
        app: ASGIFramework,
        cache: ResponseCache,
        access: Access,
        settings: Settings,
        state: Callable[[], Hashable],
        patience: float,
    ) -> None:
        self._app = app
        self._patience = patience
        self._cache = cache
        self._access = access
        self._state = state
        self._proxy_header = settings.proxy_header.lower().encode() if settings.login == "proxy" else None
        self._making: dict[Key, _Making] = {}

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        headers = self._relevant(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if headers is None:
            await self._app(scope, receive, send)
            return
        scope = cast(HTTPScope, scope)
        # What is never cached, such as static files, must not wait for a database that is locked.
        if not self._cache.has(scope["path"]) or (actor := await self._who(scope, headers)) is None:
            await self._make(scope, receive, send, headers, None, self._last_known())
            return
        key = _key(scope, headers, actor)
        while True:
            state = await self._now()
            response = self._cache.get(key)
            if response is not None and response.state not in (None, state):
                response = None
            if response is None:
                other = self._making.get(key)
                if other is None or other.state != state:
                    await self._make(scope, receive, send, headers, key, state)
                    return
                # It is no older than what was asked for. If it fails, one of those who wait makes the next.
                response = await asyncio.shield(other.made)
            if response is not None:
                metrics.CACHED.inc()
                await _send(response, headers, send, self._patience)
                return

    async def _make(
        self,
        scope: HTTPScope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        headers: dict[bytes, str],
        key: Key | None,
        state: Hashable,
    ) -> None:
        making = _Making(key, state, self._cache.evictions)
        if key is not None:
            self._making[key] = making
        start: HTTPResponseStartEvent | None = None
        """Held back, with the body, while the response may be kept."""
        parts: list[bytes] = []
        size = 0

        async def record(event: ASGISendEvent) -> None:
            nonlocal start, size
            if event["type"] == "http.response.start" and making.actor is not None and _is_plain(event):
                start = event
            elif event["type"] == "http.response.body" and start is not None:
                parts.append(event["body"])
                size += len(event["body"])
                if size > _LARGEST:
                    await send(start)
                    start = None
                    await send({**event, "body": b"".join(parts)})
                    parts.clear()
                elif not event.get("more_body"):
                    response = _cached(b"".join(parts), start, None if making.is_final else state)
                    self._keep(scope, headers, making, response)
                    await _send(response, headers, send, self._patience)
            else:
                await send(event)

        token = _making.set(making)
        try:
            await self._app(scope, receive, record)
        finally:
            _making.reset(token)
            if not making.made.done():
                making.made.set_result(None)
            if key is not None and self._making.get(key) is making:
                del self._making[key]

    def _keep(self, scope: HTTPScope, headers: dict[bytes, str], making: _Making, response: Cached) -> None:
        if making.actor is None:
            return
        key = _key(scope, headers, making.actor)
        is_current = making.is_final or making.state == self._last_known()
        if is_current and making.evictions == self._cache.evictions:
            self._cache.put(key, response)
        if making.key == key:
            making.made.set_result(response)

    async def _now(self) -> Hashable:
        try:
            return await changes.state(), self._state()
        except Exception:
            return object()  # whoever asks for more of a database that is away says so

    def _last_known(self) -> Hashable:
        try:
            return changes.last_known(), self._state()
        except Exception:
            return object()  # without a connection nothing is known, and nothing is cached

    def _relevant(self, scope: HTTPScope) -> dict[bytes, str] | None:
        """The headers that make a difference; None where the request is for something that is not cached."""
        if len(scope["query_string"]) > _LONGEST_QUERY:
            return None
        found: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name in _KEY_HEADERS or name == self._proxy_header:
                if name in found:
                    return None
                found[name] = value.decode("latin-1")
            elif name in _UNCACHEABLE_HEADERS or tells_of_body(name, value):
                return None
        return found

    async def _who(self, scope: HTTPScope, headers: dict[bytes, str]) -> Actor | None:
        """Who asks; None where `web/gate.py` is to say why nobody is let in."""
        host = headers.get(b"host")
        if not host or not self._access.hosts.knows(host):
            return None
        names = [headers[self._proxy_header]] if self._proxy_header in headers else []
        client = scope["client"]
        try:
            return await self._access.who(
                headers.get(b"authorization"),
                names,
                _cookies(headers).get(COOKIE),
                client[0] if client else "",
            )
        except Exception:
            return None


_KEY_HEADERS = frozenset({b"host", b"authorization", b"cookie", b"x-forwarded-proto", b"if-none-match"})
_UNCACHEABLE_HEADERS = frozenset(
    {b"range", b"if-match", b"if-range", b"if-modified-since", b"if-unmodified-since"}
)


def _cookies(headers: dict[bytes, str]) -> Mapping[str, str]:
    return parse_cookie(headers.get(b"cookie"))


def _key(scope: HTTPScope, headers: dict[bytes, str], actor: Actor) -> Key:
    path, query = scope["path"], scope["query_string"]
    if not is_page(path):
        return path, query, actor.visibility, actor.role
    # Pages have the name of the user, what that one may do, and addresses of this server.
    is_secure = headers.get(b"x-forwarded-proto", "").lower() == "https"
    address = (scope["scheme"], headers.get(b"host"), is_secure)
    favourites = _cookies(headers).get(FAVOURITES, "")[:LONGEST_FAVOURITES]
    return path, query, actor.visibility, actor.role, actor.name, address, favourites


def _is_plain(start: HTTPResponseStartEvent) -> bool:
    """Whether a response is one for all: that there is something, which sets no cookie."""
    return start["status"] == 200 and all(bytes(name) != b"set-cookie" for name, _ in start["headers"])


def _cached(body: bytes, start: HTTPResponseStartEvent, state: Hashable) -> Cached:
    headers = tuple((bytes(name), bytes(value)) for name, value in start["headers"])
    by_name = dict(headers)
    etag, _ = unquote_etag(by_name.get(b"etag", b"").decode("latin-1") or None)
    now = _NOW.match(body) if by_name.get(b"content-type", b"").startswith(b"text/html") else None
    return Cached(body, headers, state, etag, now.start(1) if now is not None else None)


async def _send(response: Cached, headers: dict[bytes, str], send: ASGISendCallable, patience: float) -> None:
    status, body, sent = 200, response.body, response.headers
    if response.etag is not None and parse_etags(headers.get(b"if-none-match")).contains_weak(response.etag):
        status, body = 304, b""
        sent = tuple((name, value) for name, value in sent if name not in _OF_BODY)
    elif response.now_at is not None:
        body = b"%b%d%b" % (body[: response.now_at], now_ms(), body[response.now_at + 13 :])
    await send_whole(send, status, sent, body, patience)


_OF_BODY = (b"content-length", b"content-type")
