"""Talks to a server over its HTTP API, and follows a build over dropped connections."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from rapidflow_web import __version__
from rapidflow_web.errors import RapidFlowError

_TIMEOUT = 30.0
_RETRY_SECONDS = (0.2, 0.5, 1, 2, 5)
_GIVE_UP_SECONDS = 600.0
_KEEPALIVE_SECONDS = 30


class ClientError(RapidFlowError):
    """What the server refused, or why it can't be asked."""


class Unreachable(ClientError):
    """The server does not answer."""


class Client:
    """One server. `url` is like http://127.0.0.1:3000."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClientError(f"'{url}' is not the address of a server; write one like http://127.0.0.1:3000")
        self._url = url
        self._https = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._base = parts.path.rstrip("/")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer to a request. Raises `ClientError` with the server's own sentence."""
        data = None if body is None else json.dumps(body).encode()
        # A cancel answers when the build is stopped, which takes as long as its grace period.
        connection = self._connection(timeout=None if method == "POST" else _TIMEOUT)
        try:
            response = self._send(connection, method, path, data)
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self._url} does not answer: {_reason(error)}") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise ClientError(_refusal(text))
        return json.loads(text)

    def stream(self, job_id: str, query: dict[str, Any], write: Callable[[bytes], object]) -> int:
        """Writes a job's log to its end; returns the cursor after it.

        A connection that breaks off is made anew from the byte where it was, so that `write` is given every
        byte once. Raises `Unreachable` when that has not worked for ten minutes.
        """
        position: int | None = None
        wanted = dict(query)
        failures, failing_since = 0, 0.0
        while True:
            connection = self._connection(timeout=None)
            try:
                response = self._send(connection, "GET", f"/jobs/{quote(job_id)}/logs/stream?{urlencode(wanted)}")
                if response.status >= 500:
                    raise http.client.HTTPException(f"status {response.status}")
                if response.status >= 400:
                    raise ClientError(response.read().decode("utf-8", "replace").strip())
                if position is None:
                    position = int(response.headers["RapidFlow-Offset"])
                while chunk := response.read1(256 * 1024):
                    write(chunk)
                    position += len(chunk)
                    failures = 0
                if _complete(response):
                    return position
                raise http.client.IncompleteRead(b"")
            except (OSError, http.client.HTTPException) as error:
                now = time.monotonic()
                failing_since = failing_since if failures else now
                if position is None or now - failing_since > _GIVE_UP_SECONDS:
                    raise Unreachable(f"{self._url} does not answer: {_reason(error)}") from error
                wanted = {key: value for key, value in query.items() if key != "tail"} | {"offset": position}
                time.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                failures += 1
            finally:
                connection.close()

    def _connection(self, timeout: float | None) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=timeout)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, data: bytes | None = None
    ) -> http.client.HTTPResponse:
        connection.connect()
        # A build may say nothing for an hour; only this tells a silent server from one that is gone.
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_SECONDS)
        headers = {"User-Agent": f"rapidflow/{__version__}", "Accept": "application/json, text/plain"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, self._base + path, data, headers)
        return connection.getresponse()


def _complete(response: http.client.HTTPResponse) -> bool:
    """Whether a body of known length came to its end; for a chunked one the last chunk has told."""
    return response.length in (None, 0)


def _refusal(text: bytes) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text.decode("utf-8", "replace")[:200]


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "the connection broke off"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
