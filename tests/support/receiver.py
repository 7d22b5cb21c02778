"""A server that is told things: it keeps each request, and answers as the test says."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """What came. Names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b"{}"


def reply(status: int, body: bytes = b"{}", **headers: str) -> Reply:
    """An answer; `Retry_After="1"` is a header."""
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


class Receiver:
    """`received` has all requests in the order in which they came.

    `judge` makes the answer to each, 201 by default. `hang` as an answer lets the client wait to the end.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.received: list[Request] = []
        self.judge: Callable[[Request], Reply] = lambda request: reply(201)
        self._over = threading.Event()

    def hang(self) -> Reply:
        """Does not answer while the test goes on."""
        self._over.wait()
        return reply(500)

    def end(self) -> None:
        """Lets those go that hang."""
        self._over.set()


class _Handler(http.server.BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body)
        self.receiver.received.append(request)
        answer = self.receiver.judge(request)
        try:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
        except OSError:
            pass  # the client was killed

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A server that is told things, at 127.0.0.1."""

    class Handler(_Handler):
        pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.receiver = receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.end()
        server.shutdown()
        server.server_close()
        thread.join()
