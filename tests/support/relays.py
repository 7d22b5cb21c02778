"""A relay as a process of its own, before an engine that a test plays."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rapidflow_web.executors.cluster import relay, tunnel
from rapidflow_web.executors.cluster.certificates import Keys, RelayKeys
from rapidflow_web.executors.cluster.tls import context_of
from tests.support.server import free_port, wait_for
from tests.support.tls_client import TlsClient

_PROGRAM = (Path(relay.__file__), Path(tunnel.__file__))
"""The modules of the relay; it needs no other of the project."""
_PACKAGE = "rapidflow_web/executors/cluster"


class StandIn:
    """Listens at a socket like an engine; each connection is `serve`d by a thread of its own."""

    def __init__(self, path: Path, serve: Callable[[socket.socket], None]) -> None:
        self.accepted = 0
        self._serve = serve
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1000)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._serve(connection)


class RelayProcess:
    """A relay with keys of its own, before the socket `engine`.

    It listens at `address`, in the network namespace of this name if there is one. `changes` are made to its
    program before.
    """

    def __init__(
        self, engine: Path, address: str = "127.0.0.1", namespace: str = "", changes: Mapping[str, str] = {}
    ) -> None:
        self.address = address
        self._namespace = namespace
        # The path of a socket must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="rf-relay-"))
        self.keys = Keys(self.folder)
        self.state = self.keys.make()
        self.engine = engine
        self.program = write_program(self.folder / "program", changes)
        self.port = free_port()
        self.processes: list[subprocess.Popen[bytes]] = []
        self._clients: list[TlsClient] = []
        self.start()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self.processes[-1]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @functools.cached_property
    def context(self) -> ssl.SSLContext:
        """The server's."""
        return context_of(self.keys.certificates(self.state))

    def start(self) -> None:
        """Starts one, beside those that run."""
        secrets = self.folder / f"secrets-{len(self.processes)}"
        secrets.mkdir()
        write_keys(secrets, self.keys.relay(self.keys.make()))
        # Isolated and without the packages of the tests: it must need nothing of them.
        command = [sys.executable, "-I", "-S", self.program, "--folder", secrets, "--engine", self.engine,
                   "--port", str(self.port), "--address", self.address]  # fmt: skip
        if self._namespace:
            command = ["nsenter", f"--net=/run/netns/{self._namespace}", *command]
        with (self.folder / "log").open("ab") as log:
            before = self.log.count("serves")
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        wait_for(
            lambda: self.log.count("serves") > before or self.process.poll() is not None, "a relay listens"
        )

    def connect(self, context: ssl.SSLContext | None = None) -> TlsClient:
        self._clients.append(TlsClient(self.port, context or self.context, self.address))
        return self._clients[-1]

    def terminate(self) -> None:
        """SIGTERM to the first that runs."""
        next(one for one in self.processes if one.poll() is None).send_signal(signal.SIGTERM)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.folder)


def write_program(folder: Path, changes: Mapping[str, str] = {}) -> Path:
    """Writes the relay, with `changes` made to it, as its image has it; returns what Python can run."""
    package = folder / _PACKAGE
    package.mkdir(parents=True)
    (folder / "__main__.py").write_text(f"from {_PACKAGE.replace('/', '.')}.relay import main\n\nmain()\n")
    texts = {file.name: file.read_text() for file in _PROGRAM}
    for before, after in changes.items():
        assert any(before in text for text in texts.values())
        texts = {name: text.replace(before, after) for name, text in texts.items()}
    for name, text in texts.items():
        (package / name).write_text(text)
    return folder


def echo(connection: socket.socket) -> None:
    """Sends back what comes, and says goodbye once the client has ended its side."""
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.sendall(b"goodbye")


def engine_socket(folder: Path) -> Path:
    """Where the engine of a test listens."""
    return Path(os.path.relpath(folder / "engine.sock"))


@contextlib.contextmanager
def echoing(folder: Path, changes: Mapping[str, str] = {}) -> Iterator[RelayProcess]:
    """A relay, with `changes` made to its program, before an engine that echoes, which is its `stand_in`."""
    stand_in = StandIn(engine_socket(folder), echo)
    try:
        made = RelayProcess(engine_socket(folder), changes=changes)
        made.stand_in = stand_in  # type: ignore[attr-defined]
        try:
            yield made
        finally:
            made.close()
    finally:
        stand_in.close()


def write_keys(folder: Path, keys: RelayKeys) -> None:
    """Puts a relay's keys where it looks for them."""
    (folder / relay.CA).write_bytes(keys.ca)
    (folder / relay.CERTIFICATE).write_bytes(keys.certificate)
    (folder / relay.KEY).write_bytes(keys.key)
