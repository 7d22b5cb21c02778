"""A proxy that shows a server below a path, as nginx does with `location /rapidflow/`."""

from __future__ import annotations

import contextlib
import re
import socket
import threading

from tests.support.server import free_port


class PrefixProxy:
    """`url` is how browsers see the server behind it. With `strip` it takes the path off requests."""

    def __init__(self, prefix: str, *, strip: bool) -> None:
        self.port = free_port()
        self.prefix = prefix
        self.url = f"http://127.0.0.1:{self.port}{prefix}"
        self._strip = strip
        self._server = 0
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=100)
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, port: int) -> None:
        """Names the server."""
        self._server = port

    def close(self) -> None:
        """Takes no more connections."""
        # Else a call of accept that waits would go on with whatever socket has the same number next.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._pass_on, args=self._listener.accept()[:1], daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            received = b""
            while b"\r\n\r\n" not in received:
                if not (chunk := client.recv(65536)):
                    return
                received += chunk
            head, _, rest = received.partition(b"\r\n\r\n")
            line, *headers = head.split(b"\r\n")
            method, path, version = line.split(b" ")
            prefix = self.prefix.encode()
            if path != prefix and not path.startswith(prefix + b"/"):
                client.sendall(b"HTTP/1.1 404 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            if self._strip:
                path = path[len(prefix) :] or b"/"
            # nginx says so too, unless it is told to pass on the host that the browser asked.
            kept = [one for one in headers if not re.match(rb"(host|connection):", one, re.IGNORECASE)]
            line = b" ".join((method, path, version))
            own = [b"Host: 127.0.0.1:%d" % self._server, b"Connection: close"]
            head = b"\r\n".join([line, *own, *kept])
            with socket.create_connection(("127.0.0.1", self._server)) as server:
                server.sendall(head + b"\r\n\r\n" + rest)
                threading.Thread(target=_pump, args=(client, server), daemon=True).start()
                while chunk := server.recv(65536):
                    client.sendall(chunk)
                # As above, for the call of recv in that thread.
                client.shutdown(socket.SHUT_RDWR)


def _pump(client: socket.socket, server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := client.recv(65536):
            server.sendall(chunk)
        server.shutdown(socket.SHUT_RDWR)
