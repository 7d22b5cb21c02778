"""A client over TLS that may end its own side and read on, as the docker command does."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any


class TlsClient:
    """Blocks for at most `seconds` in each call."""

    def __init__(
        self, port: int, context: ssl.SSLContext, address: str = "127.0.0.1", seconds: float = 20
    ) -> None:
        self.socket = socket.create_connection((address, port), timeout=seconds)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=address)
        try:
            self._do(self._tls.do_handshake)
        except BaseException:
            self.socket.close()
            raise

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def receive(self) -> bytes:
        """What has come, at least a byte; b"" at the end. Raises `ConnectionError` where it was cut off."""
        return self._do(lambda: self._tls.read(1 << 18))

    def receive_all(self) -> bytes:
        pieces: list[bytes] = []
        while piece := self.receive():
            pieces.append(piece)
        return b"".join(pieces)

    def end(self) -> None:
        """Says that no more is sent. All that has come must have been read."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()

    def close(self) -> None:
        self.socket.close()

    def _do(self, call: Callable[[], Any]) -> Any:
        while True:
            try:
                result = call()
            except ssl.SSLWantReadError:
                self._flush()
                data = self.socket.recv(1 << 18)
                if not data:
                    raise ConnectionResetError("cut off") from None
                self._incoming.write(data)
            except ssl.SSLZeroReturnError:
                return b""
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        while data := self._outgoing.read():
            self.socket.sendall(data)
