"""Request bodies that stay within the limit, whatever the client sends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Generator
from typing import Any, cast

from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
)
from quart import Request
from quart.asgi import ASGIHTTPConnection
from quart.formparser import FormDataParser
from quart.wrappers.request import Body
from werkzeug.exceptions import RequestEntityTooLarge

from rapidflow_web.pipeline.variables import MAX_VARIABLES
from rapidflow_web.web.security_headers import UNCACHED

_DROPPED = 16 * 1024 * 1024
_MOST_FIELDS = MAX_VARIABLES + 20
"""A form that starts a build has one for each variable."""
_URL_ENCODED = ("application/x-www-form-urlencoded", "application/x-url-encoded")
_LOGIN = "/login"
HOOKS = "/hooks/"
_UPLOADS = re.compile(r"/pipelines/[^/]*/uploads")
_LARGEST_LOGIN = 16 * 1024
_PATIENCE = 2.0
"""Seconds in which the rest of an upload that is refused may come."""
_AHEAD = 1024 * 1024
"""Bytes of an upload that have come and were not taken yet."""
_ENDING = "the server is ending; check after its restart whether this was done, and if not, try again"


class PatientBody(Body):
    """Reads to its end also a body that is over the limit, and drops what is too much.

    A client that is still sending when it is answered finds its connection broken, and many never look for
    the answer then. Patience has a bound; beyond it, that is how it is.
    """

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(None, None)
        self.limit = max_content_length
        self._size = 0
        if expected_content_length is not None and self._is_too_much(expected_content_length - _DROPPED):
            self._size = expected_content_length
            self.set_complete()

    def append(self, data: bytes) -> None:
        """Takes the next bytes."""
        self._size += len(data)
        if not self._is_too_much(self._size):
            super().append(data)
        elif self._is_too_much(self._size - _DROPPED):
            self.set_complete()

    def __await__(self) -> Generator[Any, None, Any]:
        """The whole body. Raises `RequestEntityTooLarge`."""
        data = yield from super().__await__()
        if self._is_too_much(self._size):
            raise RequestEntityTooLarge
        return data

    async def __anext__(self) -> bytes:
        try:
            return await super().__anext__()
        except StopAsyncIteration:
            if self._is_too_much(self._size):
                raise RequestEntityTooLarge from None
            raise

    def _is_too_much(self, size: int) -> bool:
        return self.limit is not None and size > self.limit


class PacedBody(PatientBody):
    """A body that is read in parts, and comes no faster than it is read, whatever its size."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(expected_content_length, max_content_length)
        self._taken = asyncio.Event()
        self._dropped: int | None = None

    def append(self, data: bytes) -> None:
        """Takes the next bytes."""
        if self._dropped is None:
            super().append(data)
            return
        self._dropped += len(data)
        if self._dropped > _DROPPED:
            self.set_complete()

    async def room(self) -> None:
        """Waits until there is room for more."""
        while len(self._data) > _AHEAD:
            self._taken.clear()
            await self._taken.wait()

    async def drop(self) -> None:
        """Drops what has come and what still comes: nobody reads it any more.

        Waits a moment for its end, with the patience that `PatientBody` has.
        """
        self._dropped = 0
        self._data.clear()
        self._taken.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._complete.wait()

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self._taken.set()
        return data


class _Answer:
    """Sends an answer, or an error in its place."""

    def __init__(self, send: ASGISendCallable, is_page: bool) -> None:
        self._send = send
        self._is_page = is_page
        self._has_begun = self._is_given_up = False

    async def send(self, event: ASGISendEvent) -> None:
        """Sends a part of the answer."""
        if not self._is_given_up:
            self._has_begun = True
            await self._send(event)

    async def give_up(self) -> None:
        """Says that the server ends, if nothing was sent yet. What still comes of the answer is dropped."""
        self._is_given_up = True
        if self._has_begun:
            return
        body = (_ENDING if self._is_page else json.dumps({"error": _ENDING})).encode()
        headers = {
            "Content-Type": "text/plain; charset=utf-8" if self._is_page else "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **UNCACHED,
        }
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._send(HTTPResponseStartEvent(type="http.response.start", status=500, headers=encoded))
        await self._send(HTTPResponseBodyEvent(type="http.response.body", body=body, more_body=False))


class PacedConnection(ASGIHTTPConnection):
    """Reads requests; the framework's own reads a body whether somebody takes it or not."""

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answers a request, also one that the end of the server leaves no time for."""
        answer = _Answer(send, b"text/html" in dict(self.scope["headers"]).get(b"accept", b""))
        try:
            await super().__call__(receive, answer.send)
        except asyncio.CancelledError:
            # The server ends: a client that goes is only told to the route.
            await answer.give_up()
            raise

    async def handle_messages(self, request: Request, receive: ASGIReceiveCallable) -> None:
        """Gives the request its body. Returns when the client has gone."""
        body = request.body

        async def paced() -> ASGIReceiveEvent:
            if isinstance(body, PacedBody):
                await body.room()
            return await receive()

        await super().handle_messages(request, paced)

    async def handle_request(self, request: Request, send: ASGISendCallable) -> None:
        """Answers the request, whether its body has come to its end or not."""
        body = request.body

        async def answered(event: ASGISendEvent) -> None:
            if isinstance(body, PacedBody) and event["type"] == "http.response.start":
                # What still came would also hold up the end of the answer.
                await body.drop()
            await send(event)

        await super().handle_request(request, answered)


class BoundedForms(FormDataParser):
    """Reads forms of at most `_MOST_FIELDS` fields; a million of them would take a second."""

    async def parse(
        self, body: Body, mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> Any:
        """Fields and files. Raises `RequestEntityTooLarge`."""
        if mimetype in _URL_ENCODED and (await body).count(b"&") >= _MOST_FIELDS:
            raise RequestEntityTooLarge
        return cast(Any, await super().parse(body, mimetype, content_length, options))


class PatientRequest(Request):
    """A request with such a body; one that anybody may send has a small one, as there may be thousands."""

    body_class = PatientBody
    form_data_parser_class = BoundedForms
    most_of_delivery: int
    most_of_upload: int

    @classmethod
    def limited(cls, *, delivery: int, upload: int) -> type[PatientRequest]:
        """The class of requests where a webhook, or an upload, may have at most so many bytes."""
        return type(cls.__name__, (cls,), {"most_of_delivery": delivery, "most_of_upload": upload})

    def __init__(
        self, method: str, scheme: str, path: str, *others: Any, max_content_length: int | None, **more: Any
    ) -> None:
        if path == _LOGIN:
            max_content_length = min(_LARGEST_LOGIN, max_content_length or _LARGEST_LOGIN)
        elif path.startswith(HOOKS):
            max_content_length = self.most_of_delivery
        elif _UPLOADS.fullmatch(path):
            self.body_class = PacedBody
            max_content_length = self.most_of_upload
        super().__init__(method, scheme, path, *others, max_content_length=max_content_length, **more)
