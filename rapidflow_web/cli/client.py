"""Talks to a server over its HTTP API, and follows a build over dropped connections."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol
from urllib.parse import quote, urlencode, urlsplit

import click

from rapidflow_web import __version__
from rapidflow_web.cli import response_shapes, tls
from rapidflow_web.cli.response_shapes import Shape
from rapidflow_web.errors import RapidFlowError

P = ParamSpec("P")
_TIMEOUT = 30.0
_RETRY_SECONDS = (0.2, 0.5, 1, 2, 5)
_GIVE_UP_SECONDS = 600.0
_TRIES_AT_ONE_BYTE = 4
"""Answers that break off at the same byte of a finished log, after which it is not the connection's fault."""
_UNREADABLE = (
    "the log of job {job} breaks off at byte {at} again and again; it may be damaged: "
    "have 'rapidflow doctor --fix' run where the server is"
)
_KEEPALIVE_SECONDS = 30
_CHUNK = 256 * 1024
_LONGEST_ANSWER = 256 * 1024 * 1024
_LONGEST_SENTENCE = 4096
_BROKEN = (OSError, http.client.HTTPException, ValueError)
"""The last where the parts of a body have sizes that no part can have."""


class Readable(Protocol):
    """A file that is sent."""

    def read(self, size: int, /) -> bytes: ...


class ClientError(RapidFlowError):
    """What the server refused, or why it can't be asked."""


class Unreachable(ClientError):
    """The server does not answer, or something else does."""


class Unreadable(ClientError):
    """The server is there, and can't read the log that was asked for."""


def asks_server(command: Callable[Concatenate[Client, P], int]) -> Callable[P, int]:
    """Gives a command the client for its server, as the first argument."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> int:
        return command(click.get_current_context().obj(), *arguments, **options)

    return run


class Client:
    """One server. `url` is like http://127.0.0.1:3000; `notify` is told when it has to be waited for."""

    def __init__(self, url: str, notify: Callable[[str], object]) -> None:
        self._url = url
        self._notify = notify
        self._was_there = self._answered = False
        try:
            parts = urlsplit(
                url if "://" in url or not re.search(r"[.:]|^localhost$", url) else f"http://{url}"
            )
            self._host, self._port = parts.hostname or "", parts.port
            self._https = parts.scheme == "https"
            self._base = quote(parts.path.rstrip("/"), safe="/%")
            if parts.scheme not in ("http", "https") or not self._host.encode("idna"):
                raise ValueError
            self._connection(timeout=None)
        except (ValueError, http.client.InvalidURL):
            raise ClientError(
                f"'{url}' is not the address of a server; write one like http://127.0.0.1:3000"
            ) from None

    def call(
        self, method: str, path: str, body: Any = None, *, shape: Shape, also: Sequence[int] = ()
    ) -> Any:
        """The JSON answer to a request, which has this shape, if its status is of success or in `also`.

        Raises `ClientError` with the server's own sentence.
        """
        data = None if body is None else json.dumps(body).encode()
        return self._called(method, path, data, {}, shape, also)

    def upload(self, path: str, file: Readable, size: int, *, shape: Shape) -> Any:
        """The JSON answer to a POST of the `size` bytes that are left of a file. Raises `ClientError`."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        return self._called("POST", path, file, headers, shape, ())

    def _called(
        self,
        method: str,
        path: str,
        data: bytes | Readable | None,
        headers: Mapping[str, str],
        shape: Shape,
        also: Sequence[int],
    ) -> Any:
        # A cancel answers when the build is stopped, which takes as long as its grace period.
        connection = self._connection(timeout=None if method == "POST" else _TIMEOUT)
        try:
            response = self._send(connection, method, path, data, headers)
            text = response.read(_LONGEST_ANSWER)
            is_whole = not response.read(1)
            if is_whole and response.length:
                raise http.client.IncompleteRead(text, response.length)
        except _BROKEN as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        if response.status not in (200, 201, *also):
            if response.status == 400 and not _refusal(text):
                self._check_for_tls()
            kind = Unreachable if response.status >= 500 else ClientError
            raise kind(_refusal(text) or f"{self._url} answered with {_status(response)}")
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            is_whole, answer = False, None
        if not (is_whole and shape(answer)):
            raise Unreachable(f"what answers at {self._url} is not RapidFlow")
        return answer

    def stream(
        self, job_id: str, query: dict[str, Any], sized: Callable[[int], object] = lambda _: None
    ) -> Iterator[bytes]:
        """A job's log to its end, every byte once. `sized` is told how many there will be, if that is known.

        A connection that breaks off is made anew from the byte where it was. Raises `Unreachable` where the
        server never was there, or has been away for ten minutes, `Unreadable` where it can't read the log.
        """
        position: int | None = None
        patience = _Patience()
        stuck = 0
        while True:
            wanted = query
            if position is not None:
                wanted = {key: value for key, value in query.items() if key != "tail"} | {"offset": position}
            connection = self._connection(timeout=None)
            try:
                response = self._send(connection, "GET", f"{_path(job_id)}/logs/stream?{urlencode(wanted)}")
                if response.status == 400:
                    self._check_for_tls()
                if 300 <= response.status <= 500:
                    self._refuse(job_id, response)
                if response.status != 200:
                    raise http.client.HTTPException(f"it answered with {_status(response)}")
                at = _offset(response)
                if position is None and response.length is not None:
                    sized(response.length)
                stuck += response.length is not None  # only a finished log has a length
                if stuck > _TRIES_AT_ONE_BYTE:
                    raise Unreadable(_UNREADABLE.format(job=job_id, at=at))
                while chunk := response.read1(_CHUNK):
                    # Only now: headers that broke off look like whole ones, and have no bytes after them.
                    position = at = at + len(chunk)
                    patience.renew()
                    stuck = 0
                    yield chunk
                if _came_to_its_end(response):
                    return
                raise http.client.IncompleteRead(b"")
            except _BROKEN as error:
                self._wait(patience, self._unreachable(error))
            finally:
                connection.close()

    def status(self, job_id: str) -> str:
        """The job's status. Waits like `stream` for a server that is away."""
        patience = _Patience()
        while True:
            try:
                return self.call("GET", _path(job_id), shape=response_shapes.STATUS)["status"]
            except Unreachable as error:
                self._wait(patience, error)

    def _wait(self, patience: _Patience, error: Unreachable) -> None:
        """Waits before another try; raises the error where there should be none."""
        if not self._was_there or patience.at_end():
            raise error
        if patience.failures == 0:
            self._notify(f"{error}; trying again")
        patience.wait()

    def _connection(self, timeout: float | None) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=timeout)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        data: bytes | Readable | None = None,
        more: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        connection.connect()
        self._was_there = True
        # A build may say nothing for an hour; only this tells a silent server from one that is gone.
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_SECONDS)
        headers = {"User-Agent": f"rapidflow/{__version__}", "Accept": "application/json, text/plain"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        if token := os.environ.get("RAPIDFLOW_TOKEN"):
            if not (token.isascii() and token.isprintable()):
                raise ClientError("RAPIDFLOW_TOKEN is not a token; set it to one that a server made")
            headers["Authorization"] = f"Bearer {token}"
        headers |= more or {}
        if data is None or isinstance(data, bytes):
            connection.request(method, self._base + path, data, headers)
        else:
            # A server that refuses a large body says so before it has all of it, and hangs up.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, self._base + path, _until_answered(data, connection.sock), headers)
        response = connection.getresponse()
        self._answered |= response.status != 400
        return response

    def _check_for_tls(self) -> None:
        """Raises `ClientError` where the server, which has answered nothing yet, speaks TLS alone."""
        port = self._port or http.client.HTTP_PORT
        if not self._https and not self._answered and tls.is_spoken(self._host, port):
            raise ClientError(f"{self._url} speaks TLS; write https:// instead of http://")

    def _refuse(self, job_id: str, response: http.client.HTTPResponse) -> None:
        """Raises the server's own sentence, as what is worth another try only where the server says so."""
        text = response.read(_LONGEST_SENTENCE)
        sentence = text.decode("utf-8", "replace").strip()
        if response.status == 500 and ("Retry-After" in response.headers or not sentence):
            raise http.client.HTTPException(f"it answered with {_status(response)}")
        # A proxy or the server's pages answer with a page, which nobody wants to read in a terminal.
        if response.status < 400 or response.headers.get_content_type() != "text/plain":
            sentence = _refusal(text) or f"{self._url} answered with {_status(response)}"
        elif response.status < 500:
            # A proxy may say so as well, as text. In an answer in JSON, only the server has a sentence.
            self.call("GET", _path(job_id), shape=response_shapes.STATUS)
        raise (Unreadable if response.status == 500 else ClientError)(sentence)

    def _unreachable(self, error: Exception) -> Unreachable:
        """What to raise for an error. Raises `ClientError` where no other try is worth it."""
        if complaint := tls.complaint(error, self._url):
            raise ClientError(complaint) from error
        if self._was_there:
            self._check_for_tls()
        hint = "" if self._was_there else "; start it, or name another with --url or RAPIDFLOW_URL"
        return Unreachable(f"{self._url} does not answer: {_reason(error)}{hint}")


class _Patience:
    """Waits between tries, longer and longer, until it has been in vain for too long."""

    def __init__(self) -> None:
        self.failures = 0
        self._deadline = 0.0

    def renew(self) -> None:
        """Forgets the failures: a try worked."""
        self.failures = 0

    def at_end(self) -> bool:
        """Whether there should be no other try."""
        return self.failures > 0 and time.monotonic() > self._deadline

    def wait(self) -> None:
        """Waits before another try."""
        if self.failures == 0:
            self._deadline = time.monotonic() + _GIVE_UP_SECONDS
        time.sleep(_RETRY_SECONDS[min(self.failures, len(_RETRY_SECONDS) - 1)])
        self.failures += 1


def _until_answered(file: Readable, connection: socket.socket) -> Iterator[bytes]:
    """The parts of a file; no more once there is an answer."""
    while part := file.read(_CHUNK):
        # What comes over TLS before an answer need not be one.
        if not isinstance(connection, ssl.SSLSocket) and select.select([connection], [], [], 0)[0]:
            return
        yield part


def _path(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"


def _offset(response: http.client.HTTPResponse) -> int:
    """The cursor of the first byte, which may be missing where the connection broke off among the headers."""
    try:
        return int(response.headers["RapidFlow-Offset"])
    except (TypeError, ValueError):
        raise http.client.HTTPException("it is not RapidFlow that answers") from None


def _came_to_its_end(response: http.client.HTTPResponse) -> bool:
    """Whether a body that can't be read on is whole: it had its last chunk, or has reached its length.

    One of which neither is known has lost its headers to a connection that broke off.
    """
    return bool(response.chunked) or response.length == 0  # pyright: ignore[reportAttributeAccessIssue]


def _refusal(text: bytes) -> str:
    try:
        return str(json.loads(text)["error"])[:_LONGEST_SENTENCE]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _status(response: http.client.HTTPResponse) -> str:
    """The status that came without a sentence of the server, mostly from a proxy in front of it."""
    said = f"status {response.status}"
    if response.status == 413:
        return f"{said}: a proxy in front takes no larger requests (client_max_body_size of nginx)"
    if response.status in (502, 503, 504):
        return f"{said}: a proxy in front does not reach the server"
    hint = "name the server's own address with --url or RAPIDFLOW_URL"
    if response.status == 404:
        return f"{said}, so it may not be RapidFlow; {hint}"
    if 300 <= response.status < 400 and (location := response.headers.get("Location")):
        return f"{said} and leads to {location[:200]}; {hint}"
    return said


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "the connection broke off"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
