"""Stands between a server and the Docker engine, so that a test can take the engine away."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path

_ENGINE = "/var/run/docker.sock"


class EngineProxy:
    """`host` is what to set DOCKER_HOST to."""

    def __init__(self) -> None:
        # The path of a socket must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="rf-proxy-"))
        self._path = self._folder / "docker.sock"
        self.host = f"unix://{self._path}"
        self.accepted = 0
        self.requests: list[bytes] = []
        """The first lines of all calls of the engine."""
        self.before_loss = 0
        """How many of them there were before the connection broke over which data was to be lost."""
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._flows = threading.Event()
        self._flows.set()
        self._until: list[bytes] = []
        self._lost = b""
        self._late, self._late_by = b"", 0.0
        self.come_back()

    def go_away(self) -> None:
        """Breaks all connections and takes no new ones."""
        if self._listener is not None:
            # Else a call of accept that waits would go on with whatever socket has the same number next.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._path.unlink(missing_ok=True)
            self._listener = None
        self.break_connections()

    def break_connections(self) -> None:
        """Breaks all connections; new ones are taken."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        """Takes connections again."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(100)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def freeze(self) -> None:
        """Passes nothing on any more, and breaks nothing off, like an engine that hangs."""
        self._flows.clear()

    def freeze_after(self, *requests: bytes) -> None:
        """Passes on a request with each of these, in their order, and then not even the last one's answer."""
        self._until = list(requests)

    def lose(self, data: bytes) -> None:
        """Breaks the connection over which this comes next, just before it."""
        self._lost = data

    def delay(self, data: bytes, seconds: float) -> None:
        """Passes on late whatever this is in, and what follows it."""
        self._late, self._late_by = data, seconds

    @property
    def frozen(self) -> bool:
        return not self._flows.is_set()

    def thaw(self) -> None:
        self._until = []
        self._flows.set()

    def close(self) -> None:
        self.thaw()
        self.go_away()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(_ENGINE)
            with self._lock:
                self._open |= {client, engine}
            done = threading.Barrier(2, action=lambda pair=(client, engine): self._forget(pair))
            for source, target in ((client, engine), (engine, client)):
                threading.Thread(target=self._pass_on, args=(source, target, done), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, done: threading.Barrier) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if data.startswith((b"GET /", b"POST /", b"PUT /", b"HEAD /", b"DELETE /")):
                    self.requests.append(data.partition(b"\r\n")[0])
                self._flows.wait()
                if self._until and self._until[0] in data:
                    self._until.pop(0)
                    if not self._until:
                        self._flows.clear()
                if self._lost and self._lost in data:
                    target.sendall(data.partition(self._lost)[0])
                    self._lost = b""
                    self.before_loss = len(self.requests)
                    source.shutdown(socket.SHUT_RDWR)
                    break
                if self._late and self._late in data:
                    time.sleep(self._late_by)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        done.wait()

    def _forget(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            for one in pair:
                self._open.discard(one)
                one.close()
