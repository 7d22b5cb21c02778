"""HTTP/1.1 and nothing else, without what two readers of the same bytes could read differently."""

from __future__ import annotations

import json
import re
from typing import Any

import h11
from h11._receivebuffer import ReceiveBuffer
from h11._writers import ChunkedWriter
from hypercorn.events import RawData
from hypercorn.protocol.h11 import H11Protocol

from rapidflow_web.web import security_headers

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
        self.connection = _Connection(h11.SERVER, self.config.h11_max_incomplete_size)

    @property
    def is_answering(self) -> bool:
        """Whether a request has come whose answer has not been sent to its end."""
        return self.stream is not None

    async def probe(self) -> None:
        """Sends what every client ignores and what a client that is gone refuses.

        Before the head that is a `100 Continue`, between the chunks of a body a zero in front of the size of
        the next one.
        """
        connection = self.connection
        if not isinstance(connection, _Connection):
            return
        if connection.our_state is h11.SEND_RESPONSE and connection.their_http_version == b"1.1":
            await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))
        elif connection.sends_chunks:
            await self.send(RawData(data=b"0"))

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
        **security_headers.UNCACHED,
    }
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()], body


_LONGEST_CHUNK_LINE = 1024
_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""A line feed or a carriage return alone, a field that goes on in the next line, a control character."""
_LENGTH = re.compile(rb"content-length[ \t]*:", re.IGNORECASE)
_CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,16}[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?\r\n")


class _Strict(ReceiveBuffer):
    """What has been received of a connection. The library's own reads lines as generously as it can."""

    def __init__(self, largest_head: int) -> None:
        super().__init__()
        self._largest_head = largest_head

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """The lines of a head or of trailers, None while they are not whole. Raises `RemoteProtocolError`.

        Each ends in CR LF and is a field of its own.
        """
        if not self._data.startswith(b"\r\n"):
            start = self._multiple_lines_search
            end = self._data.find(b"\r\n\r\n", start)
            stop = len(self._data) if end < 0 else end + 4
            if _AMBIGUOUS.search(self._data, start, stop):
                raise h11.RemoteProtocolError("ambiguous lines")
            if stop > self._largest_head:
                raise h11.RemoteProtocolError("too large", error_status_hint=431)
        lines = super().maybe_extract_lines()
        lengths = [line for line in lines or () if _LENGTH.match(line)]
        if len(lengths) > 1 or any(b"," in line for line in lengths):
            raise h11.RemoteProtocolError("several lengths")
        return lines

    def maybe_extract_next_line(self) -> bytearray | None:
        """The line before a chunk, None while it is not whole. Raises `RemoteProtocolError`."""
        line = super().maybe_extract_next_line()
        if line is None and len(self._data) > _LONGEST_CHUNK_LINE:
            raise h11.RemoteProtocolError("chunk line too long")
        if line is not None and (len(line) > _LONGEST_CHUNK_LINE or not _CHUNK_LINE.fullmatch(line)):
            raise h11.RemoteProtocolError("no chunk line")
        return line


class _Connection(h11.Connection):
    def __init__(self, our_role: type[h11.SERVER], largest_head: int) -> None:
        super().__init__(our_role, largest_head)
        self._receive_buffer = _Strict(largest_head)

    @property
    def sends_chunks(self) -> bool:
        """Whether the head of an answer was sent whose body goes out in chunks."""
        return self.our_state is h11.SEND_BODY and isinstance(self._writer, ChunkedWriter)

    def next_event(self) -> Any:
        event = super().next_event()
        return _checked(event) if isinstance(event, h11.Request) else event


_LABEL = rb"[A-Za-z0-9_-]{1,63}"
_HOST = re.compile(rb"(%s(\.%s)*\.?|\[[0-9A-Za-z:.%%]+\])(:[0-9]{1,5})?" % (_LABEL, _LABEL))

_ADDRESS = re.compile(rb"(?P<scheme>https?)://(?P<host>[^/?#]+)(?P<rest>([/?][^#]*)?)", re.IGNORECASE)


def _checked(request: h11.Request) -> h11.Request:
    """The request, without a wish for another protocol. Raises `RemoteProtocolError` where it is refused."""
    if request.http_version not in (b"1.1", b"1.0"):
        raise h11.RemoteProtocolError("another version", error_status_hint=505)
    values = dict(request.headers)
    if b"host" in values and not _HOST.fullmatch(values[b"host"]):
        # The framework fails at some of them.
        raise h11.RemoteProtocolError("no host")
    if b"transfer-encoding" in values and (b"content-length" in values or request.http_version == b"1.0"):
        raise h11.RemoteProtocolError("two lengths")
    target = request.target
    if not target.startswith((b"/", b"*")):
        target = _own_target(target, values.get(b"host", b""))
    if target != request.target or b"upgrade" in values:
        return h11.Request(
            method=request.method,
            target=target,
            headers=[(name, value) for name, value in request.headers if name != b"upgrade"],
            http_version=request.http_version,
        )
    return request


def _own_target(target: bytes, host: bytes) -> bytes:
    """The path and query of an address with a host in it, as proxies are sent them.

    Raises `RemoteProtocolError` where that is not the host of the request.
    """
    match = _ADDRESS.fullmatch(target)
    if match is None:
        raise h11.RemoteProtocolError("no address")
    usual = b":443" if match["scheme"].lower() == b"https" else b":80"
    if match["host"].lower().removesuffix(usual) != host.lower().removesuffix(usual):
        raise h11.RemoteProtocolError("two hosts")
    return match["rest"] if match["rest"].startswith(b"/") else b"/" + match["rest"]
