"""The `rapidflow` command where one side speaks TLS and the other does not."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support import fork_server
from tests.support.certificates import make_certificate

COMMANDS = (("jobs",), ("logs", "-f", "1"), ("run", "1"), ("cancel", "1"))


class _Empty(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Http(http.server.ThreadingHTTPServer):
    """Answers over TLS if it has a certificate; clients without get `refusal` or the connection closed."""

    daemon_threads = True

    def __init__(self, certificate: tuple[Path, Path] | None, refusal: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), _Empty)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self.context and certificate:
            self.context.load_cert_chain(certificate[1], certificate[0])
        self.refusal = refusal

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.context is None:
            super().finish_request(request, client_address)
        elif request.recv(1, socket.MSG_PEEK) != b"\x16":
            request.recv(65536)
            request.sendall(self.refusal)
        else:
            with (
                contextlib.suppress(OSError),
                self.context.wrap_socket(request, server_side=True) as connection,
            ):
                super().finish_request(connection, client_address)

    @property
    def port(self) -> int:
        return self.server_address[1]


@contextlib.contextmanager
def serving(server: _Http) -> Generator[int]:
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.port
        server.shutdown()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A key, and a certificate that nobody knows."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make_certificate(key, certificate)
    return key, certificate


def said(url: str, *arguments: str) -> str:
    """The sentence with which the command fails."""
    done = fork_server.run("--url", url, *arguments, input=b"", timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")
    return done.stderr.decode()


@pytest.mark.parametrize("arguments", COMMANDS)
def test_https_to_a_server_without_tls_is_said(arguments: tuple[str, ...]) -> None:
    with serving(_Http(None)) as port:
        url = f"https://127.0.0.1:{port}"
        assert (
            said(url, *arguments)
            == f"rapidflow: {url} does not speak TLS; write http:// instead of https://\n"
        )


REFUSALS = [b"", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", b"\x15\x03"]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_http_to_a_server_with_tls_is_said_and_not_tried_again(
    certificate: tuple[Path, Path], refusal: bytes
) -> None:
    with serving(_Http(certificate, refusal)) as port:
        url = f"http://127.0.0.1:{port}"
        for arguments in COMMANDS:
            assert (
                said(url, *arguments) == f"rapidflow: {url} speaks TLS; write https:// instead of http://\n"
            )


def test_a_certificate_that_is_not_known_is_said_with_what_to_do(certificate: tuple[Path, Path]) -> None:
    with serving(_Http(certificate)) as port:
        url = f"https://127.0.0.1:{port}"
        assert said(url, "jobs") == (
            f"rapidflow: the certificate of {url} is not valid: self-signed certificate; "
            "SSL_CERT_FILE names a file with those of other authorities\n"
        )
