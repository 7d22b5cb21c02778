"""A registry with one image, on loopback, where the engine needs no certificate."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support import images

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """Serves `team/app`, with the tags 1 and latest: a bash image with a layer of `size` random bytes more.

    `login` is "user:password" where it wants one. While `flows` is cleared, layers stand still in the middle.
    """

    def __init__(self, size: int = 3_000_000, login: str | None = None) -> None:
        self.requests: list[str] = []
        self.flows = threading.Event()
        self.flows.set()
        self._closed = False
        self._login = login
        layer = _layer(size)
        self._layer = _digest(layer)
        self._blobs, self._manifest = _image(layer)
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                registry._answer(self, head=True)

            def do_GET(self) -> None:
                registry._answer(self, head=False)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.image = f"{self.host}/team/app:1"

    def pulls(self) -> int:
        """How often the random layer was asked for."""
        return sum(request == f"GET /v2/team/app/blobs/{self._layer}" for request in self.requests)

    def close(self) -> None:
        """Ends it, and removes its image from the engine."""
        self._closed = True
        self.flows.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for tag in ("1", "latest"):
            subprocess.run(["docker", "rmi", "--force", f"{self.host}/team/app:{tag}"], capture_output=True)

    def _answer(self, handler: BaseHTTPRequestHandler, head: bool) -> None:
        path = handler.path
        self.requests.append(f"{handler.command} {path}")
        wanted = f"Basic {base64.b64encode((self._login or '').encode()).decode()}"
        if self._login and handler.headers.get("Authorization") != wanted:
            self._send(handler, 401, b"{}", {"WWW-Authenticate": 'Basic realm="tests"'}, head)
        elif path == "/v2/":
            self._send(handler, 200, b"{}", {}, head)
        elif path in ("/v2/team/app/manifests/1", "/v2/team/app/manifests/latest", self._by_digest):
            self._send(handler, 200, self._manifest, {"Content-Type": _MANIFEST}, head)
        elif blob := self._blobs.get(path.removeprefix("/v2/team/app/blobs/")):
            self._send(handler, 200, blob, {"Content-Type": "application/octet-stream"}, head)
        else:
            unknown = {
                "errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown to this registry"}]
            }
            body = json.dumps(unknown).encode()
            self._send(handler, 404, body, {"Content-Type": "application/json"}, head)

    @property
    def _by_digest(self) -> str:
        return f"/v2/team/app/manifests/{_digest(self._manifest)}"

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str], head: bool
    ) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Docker-Content-Digest", _digest(body))
        handler.send_header("Docker-Distribution-API-Version", "registry/2.0")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if head:
            return
        try:
            handler.wfile.write(body[: len(body) // 2])
            if len(body) > 1_000_000:
                self.flows.wait()
                if self._closed:
                    # What the engine still pulls would be there when its image has been removed.
                    handler.close_connection = True
                    return
            handler.wfile.write(body[len(body) // 2 :])
        except OSError:
            handler.close_connection = True


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _image(layer: bytes) -> tuple[dict[str, bytes], bytes]:
    """The blobs of an image by their digests, and its manifest."""
    saved = subprocess.run(["docker", "save", images.ensure(images.BASH)], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(saved.stdout)) as archive:

        def content(name: str) -> bytes:
            file = archive.extractfile(name)
            assert file is not None
            return file.read()

        listed = json.loads(content("manifest.json"))[0]
        config = json.loads(content(listed["Config"]))
        layers = [content(name) for name in listed["Layers"]]
    layers.append(layer)
    config["rootfs"]["diff_ids"] = [_digest(layer) for layer in layers]
    config.pop("history", None)
    blobs = {_digest(layer): layer for layer in layers}
    text = json.dumps(config).encode()
    blobs[_digest(text)] = text
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": len(text),
            "digest": _digest(text),
        },
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar",
                "size": len(layer),
                "digest": _digest(layer),
            }
            for layer in layers
        ],
    }
    return blobs, json.dumps(manifest).encode()


def _layer(size: int) -> bytes:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        file = tarfile.TarInfo("random")
        file.size = size
        archive.addfile(file, io.BytesIO(os.urandom(size)))
    return layer.getvalue()
