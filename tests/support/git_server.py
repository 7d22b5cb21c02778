"""A server of git and Git LFS behind https and a password, that keeps what it was asked."""

from __future__ import annotations

import atexit
import base64
import contextlib
import functools
import http.client
import http.server
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.certificates import make_certificate


class GitServer:
    """Serves the repositories below `root` at `https://127.0.0.1:<port>/<name>`, and to `passwords` only.

    `passwords` are those of each user; none lets anybody in. What is below `/elsewhere/` is redirected to
    `elsewhere`. `objects` are the files in LFS, which it says are to be downloaded from below `downloads`.
    `asked` has the path of each request, and whom it came from: `user:password` or None.
    """

    def __init__(self, port: int, root: Path) -> None:
        self.host = f"127.0.0.1:{port}"
        self.root = root
        self.passwords: dict[str, str] = {}
        self.elsewhere = ""
        self.objects: dict[str, bytes] = {}
        self.downloads = f"https://{self.host}/download"
        self.api = ""
        """Where what is below `/api/` is answered, as `http://host:port`."""
        self.asked: list[tuple[str, str | None]] = []

    def url(self, name: str, login: str = "") -> str:
        """The URL of a repository, with `user:password` if it is to be in it."""
        return f"https://{login}{'@' if login else ''}{self.host}/{name}"

    def lets_in(self, login: str | None) -> bool:
        """Whether somebody may fetch."""
        user, _, password = (login or "").partition(":")
        return not self.passwords or (login is not None and self.passwords.get(user) == password)


class _Handler(http.server.BaseHTTPRequestHandler):
    git: GitServer

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        scheme, _, word = self.headers.get("Authorization", "").partition(" ")
        login = base64.b64decode(word).decode() if scheme == "Basic" else None
        self.git.asked.append((self.path, login))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.git.api and self.path.startswith("/api/"):
            self._pass_on(body)
            return
        if self.path.startswith("/elsewhere/"):
            self.send_response(302)
            self.send_header("Location", self.git.elsewhere + self.path.removeprefix("/elsewhere"))
        elif not self.git.lets_in(login):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
        elif self.path.endswith("/info/lfs/objects/batch"):
            self._send(
                json.dumps({"objects": [self._lfs(one) for one in json.loads(body)["objects"]]}).encode()
            )
            return
        elif self.path.startswith("/download/"):
            self._send(self.git.objects[self.path.rpartition("/")[2]])
            return
        else:
            self._serve(body)
            return
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _lfs(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if wanted["oid"] not in self.git.objects:
            return {**wanted, "error": {"code": 404, "message": "not here"}}
        href = f"{self.git.downloads}/{wanted['oid']}"
        return {**wanted, "actions": {"download": {"href": href, "header": {"X-Key": "1"}}}}

    def _pass_on(self, body: bytes) -> None:
        """Has the API of the forge answer, which is at the same host."""
        connection = http.client.HTTPConnection(self.git.api.removeprefix("http://"))
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_PATCH = do_DELETE = do_POST

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _serve(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            check=True,
            env={
                **os.environ,
                "GIT_PROJECT_ROOT": str(self.git.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": unquote(parts.path),
                "QUERY_STRING": parts.query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            },
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = [line.partition(":") for line in head.decode().splitlines()]
        status = next((value.split()[0] for name, _, value in fields if name == "Status"), "200")
        self.send_response(int(status))
        for name, _, value in fields:
            if name != "Status":
                self.send_header(name, value.strip())
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def tls_context(folder: Path) -> ssl.SSLContext:
    """That of a server of this machine whose certificate, `certificate.pem` in the folder, is its own."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    if not key.exists():
        make_certificate(key, certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@functools.cache
def _few_authorities() -> dict[str, str]:
    """Has git read one certificate, of nobody, instead of all that the machine trusts: that takes 0.1 s."""
    folder = Path(tempfile.mkdtemp(prefix="rf-authorities-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    certificate = folder / "nobody.pem"
    make_certificate(folder / "key.pem", certificate)
    (folder / "none").mkdir()
    return {"GIT_SSL_CAINFO": str(certificate), "GIT_SSL_CAPATH": str(folder / "none")}


@contextmanager
def git_server(folder: Path) -> Generator[GitServer]:
    """A server of what is below a folder, whose certificate nobody knows."""
    context = tls_context(folder)
    handler = type("Handler", (_Handler,), {})
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name, value in _few_authorities().items():
            environment.setenv(name, value)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        git = GitServer(server.server_port, folder)
        handler.git = git
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield git
        finally:
            server.shutdown()
            thread.join()
