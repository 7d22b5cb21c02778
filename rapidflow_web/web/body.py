"""Request bodies that stay within the limit, whatever the client sends."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, cast

from quart import Request
from quart.formparser import FormDataParser
from quart.wrappers.request import Body
from werkzeug.exceptions import RequestEntityTooLarge

_DROPPED = 16 * 1024 * 1024
_MOST_FIELDS = 1_000
_URL_ENCODED = ("application/x-www-form-urlencoded", "application/x-url-encoded")
_LOGIN = "/login"
HOOKS = "/hooks/"
_LARGEST_LOGIN = 16 * 1024


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

    @classmethod
    def with_deliveries(cls, most: int) -> type[PatientRequest]:
        """The class of requests where a webhook may send at most so many bytes at once."""
        return type(cls.__name__, (cls,), {"most_of_delivery": most})

    def __init__(
        self, method: str, scheme: str, path: str, *others: Any, max_content_length: int | None, **more: Any
    ) -> None:
        if path == _LOGIN:
            max_content_length = min(_LARGEST_LOGIN, max_content_length or _LARGEST_LOGIN)
        elif path.startswith(HOOKS):
            max_content_length = self.most_of_delivery
        super().__init__(method, scheme, path, *others, max_content_length=max_content_length, **more)
