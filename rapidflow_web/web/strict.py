"""HTTP/1.1 and nothing else, without what two readers of the same bytes could read differently."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

import h11
from hypercorn.protocol.h11 import H11Protocol

from rapidflow_web.web import security

TOO_MANY = 503
_SENTENCES = {
    400: "this is not a request in HTTP/1.1, or one that can be read in two ways",
    431: "the head of the request is too large; send at most 16 KiB",
    501: "this transfer coding is not known; use chunked, or send a Content-Length",
    TOO_MANY: "too many clients are connected; try again in a while",
    505: "this server speaks HTTP/1.1 only",
}


class StrictProtocol(H11Protocol):
    """The framework's own would also speak HTTP/2 and WebSocket, and does not say why it refuses."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connection = _Connection(
            h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size
        )

    async def _send_error_response(self, status_code: int) -> None:
        headers, body = _refusal(status_code)
        sent = [*headers, *self.config.response_headers("h11")]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=sent))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


def too_many() -> bytes:
    """The whole answer to a client that is one too many."""
    headers, body = _refusal(TOO_MANY)
    head = b"".join(b"%s: %s\r\n" % header for header in [*headers, (b"retry-after", b"5")])
    return b"HTTP/1.1 503 \r\n%s\r\n%s" % (head, body)


def _refusal(status: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers and the body of an answer that no route gives."""
    body = json.dumps({"error": _SENTENCES.get(status, _SENTENCES[400])}).encode()
    headers = {
        "Content-Type": "application/json",
        "Content-Length": f"{len(body)}",
        "Connection": "close",
        **security.HEADERS,
    }
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()], body


class _Connection(h11.Connection):
    def next_event(self) -> Any:
        event = super().next_event()
        return _checked(event) if isinstance(event, h11.Request) else event


_LABEL = rb"[A-Za-z0-9_-]{1,63}"
_HOST = re.compile(rb"(%s(\.%s)*\.?|\[[0-9A-Za-z:.%%]+\])(:[0-9]{1,5})?" % (_LABEL, _LABEL))


def _checked(request: h11.Request) -> h11.Request:
    """The request, without a wish for another protocol. Raises `RemoteProtocolError` where it is refused."""
    if request.http_version not in (b"1.1", b"1.0"):
        raise h11.RemoteProtocolError("another version", error_status_hint=505)
    values = dict(request.headers)
    if b"host" in values and not _HOST.fullmatch(values[b"host"]):
        # The framework fails at some of them.
        raise h11.RemoteProtocolError("no host")
    if b"content-length" in values and b"transfer-encoding" in values:
        raise h11.RemoteProtocolError("two lengths")
    if not request.target.startswith((b"/", b"*")) and not _is_of_host(request.target, values.get(b"host")):
        raise h11.RemoteProtocolError("two hosts")
    if b"upgrade" in values:
        return h11.Request(
            method=request.method,
            target=request.target,
            headers=[(name, value) for name, value in request.headers if name != b"upgrade"],
            http_version=request.http_version,
        )
    return request


def _is_of_host(target: bytes, host: bytes | None) -> bool:
    """Whether an address with a host in it, as proxies are sent them, names the host of the request."""
    try:
        return urlsplit(target.decode("ascii")).netloc.lower().encode() == (host or b"").lower()
    except ValueError:
        return False
