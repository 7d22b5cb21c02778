"""The relay: gives a machine's Docker engine to the server of one installation, over TLS.

It runs alone on each machine of a swarm, with tunnel.py, and needs the standard library only. Whoever
has a client certificate of the installation's CA speaks with the engine as over its socket, or with a port of
the machine's loopback, at which builds publish theirs; nobody else gets through. docs/cluster.md says how it
is set up, docs/adr/0028 why it is there.

On SIGTERM it serves on while a connection is open, new ones included: builds on a machine that is drained
still have to be stopped and removed. Where a newer relay listens at the same port, that one gets all new
connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import os
import resource
import signal
import socket
import ssl
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

from rapidflow_web.executors.cluster.tunnel import (
    CHUNK,
    PORT_CHUNK,
    PORTS,
    Tunnel,
    abort_when_closed,
    is_dead,
    keep_alive,
    limit,
    note_name,
)

PORT = 2378
CA, CERTIFICATE, KEY = "ca.pem", "relay.pem", "relay-key.pem"
"""The files in the folder of secrets."""
PORT_TAKEN, ENGINE_CLOSED = 98, 77
"""Exit codes; a swarm tells nothing else of a program that ended."""

_HANDSHAKE_SECONDS = 10.0
_MOST_HANDSHAKES = 200
"""Unfinished handshakes; with one more, the oldest of the address that has most is given up. A client of ours
needs milliseconds."""
_PARTING_SECONDS = 30.0
"""How long a client may keep its side open after the engine has closed its own."""
_IDLE_SECONDS = 5.0
"""After SIGTERM: how long no connection must have been open before the relay ends."""
_WATCH_SECONDS = 5.0
_SAY_SECONDS = 1.0
_LISTENING = "0A"
"""A state of a TCP socket, as /proc has it."""
_MAPPED = bytes(10) + b"\xff\xff"
"""How an IPv6 address begins that stands for one of IPv4."""


def context_of(folder: Path) -> ssl.SSLContext:
    """How the relay speaks TLS, with the keys in `folder`. Raises `OSError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(folder / CA)
    context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    # Nobody would look at the certificate of a session that is resumed.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    context.set_alpn_protocols([PORTS])
    context.sni_callback = note_name
    return context


class Relay:
    """Listens at a port of this machine for clients of the engine at the socket `engine`."""

    def __init__(self, context: ssl.SSLContext, engine: Path, port: int, address: str = "") -> None:
        self._context = context
        self._engine = str(engine)
        self._port = port
        self._listener = _listen(address, port)
        self._scratch = memoryview(bytearray(CHUNK))
        self._greeting: dict[asyncio.Task[None], bytes] = {}
        """Handshakes, the oldest first, each with where it comes from."""
        self._open: dict[asyncio.Task[None], Tunnel] = {}
        self._ending = asyncio.Event()
        self._said = 0.0

    async def serve(self) -> None:
        """Serves until `end` was called and no connection has been open for a while."""
        accepting = asyncio.create_task(self._accept())
        watching = asyncio.create_task(self._watch())
        await self._ending.wait()
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < _IDLE_SECONDS:
            if not accepting.done() and _listeners(self._port) > 1:
                accepting.cancel()
                await asyncio.wait({accepting})
                # Those that wait in its queue already; closed with it, they would be broken off.
                with contextlib.suppress(OSError):
                    while True:
                        self._take(*self._listener.accept())
                self._listener.close()
                _say("a newer relay has the port")
            await asyncio.sleep(0.25)
            if self._open:
                idle_since = time.monotonic()
        watching.cancel()
        for task in (*self._greeting, *self._open):
            task.cancel()

    def end(self) -> None:
        """Lets `serve` end when nobody needs it any more."""
        _say(f"ending; {len(self._open)} connections are open")
        self._ending.set()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, address = await loop.sock_accept(self._listener)
            except OSError as error:
                # No descriptors left, or a client that has gone. Those that are served go on.
                self._complain(f"can't accept a connection: {error}")
                await asyncio.sleep(0.1)
            else:
                self._take(client, address)

    def _take(self, client: socket.socket, address: Any) -> None:
        client.setblocking(False)
        task = asyncio.create_task(self._serve(client))
        self._greeting[task] = _source(address[0])

        def forget(task: asyncio.Task[None]) -> None:
            client.close()  # one that was given up before its task began has it open still
            self._greeting.pop(task, None)
            self._open.pop(task, None)

        task.add_done_callback(forget)
        if len(self._greeting) > _MOST_HANDSHAKES:
            most = Counter(self._greeting.values()).most_common(1)[0][0]
            next(task for task, source in self._greeting.items() if source == most).cancel()

    async def _serve(self, client: socket.socket) -> None:
        task = cast(asyncio.Task[None], asyncio.current_task())
        try:
            connection = await self._greeted(client)
        except (OSError, TimeoutError) as error:
            reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
            return self._complain(f"refused a client: {reason or 'its handshake took too long'}")
        self._greeting.pop(task, None)
        self._open[task] = connection
        try:
            plain = await self._connected(connection)
        except OSError as error:
            return self._complain(str(error))
        # Only the engine never has more to hear once it has ended its side.
        parting = None if connection.is_to_port else _PARTING_SECONDS
        # A side that breaks off takes the other with it; both know.
        with plain:
            try:
                await connection.relay(plain, parting)
            except* OSError:
                if connection.is_to_port:
                    abort_when_closed(plain)

    async def _connected(self, connection: Tunnel) -> socket.socket:
        """What a client asked for. Raises `OSError` with a sentence that says what does not answer."""
        if connection.is_to_port:
            family, address = socket.AF_INET, ("127.0.0.1", connection.port())
            connection.scratch = self._scratch[:PORT_CHUNK]
            limit(connection.peer)
        else:
            family, address = socket.AF_UNIX, self._engine
        plain = socket.socket(family)
        plain.setblocking(False)
        if connection.is_to_port:
            limit(plain)
            keep_alive(plain)
        try:
            await asyncio.get_running_loop().sock_connect(plain, address)
        except BaseException as error:
            plain.close()
            if not isinstance(error, OSError):
                raise
            what = f"port {address[1]}" if connection.is_to_port else f"the engine at {self._engine}"
            raise OSError(f"{what} does not answer: {os.strerror(error.errno or 0)}") from error
        return plain

    async def _greeted(self, client: socket.socket) -> Tunnel:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(client)
        connection = Tunnel(client, self._context, self._scratch)
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            await connection.handshake()
        return connection

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for task, connection in list(self._open.items()):
                if is_dead(connection.peer):
                    task.cancel()

    def _complain(self, what: str) -> None:
        # Whoever can reach the port can cause these.
        if (now := time.monotonic()) - self._said > _SAY_SECONDS:
            self._said = now
            _say(what)


def _listen(address: str, port: int) -> socket.socket:
    dual = not address and socket.has_dualstack_ipv6()
    # With its port shared, a newer relay can begin before this one ends.
    listener = socket.create_server(
        (address, port),
        family=socket.AF_INET6 if dual else socket.AF_INET,
        backlog=1024,
        reuse_port=True,
        dualstack_ipv6=dual,
    )
    listener.setblocking(False)
    return listener


def _source(address: str) -> bytes:
    """All that one client is sure to have of addresses: an IPv4 address, or the /64 of an IPv6 one."""
    if ":" not in address:
        return socket.inet_aton(address)
    packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    return packed[-4:] if packed.startswith(_MAPPED) else packed[:8]


def _listeners(port: int) -> int:
    """How many sockets of this machine listen at a port."""
    lines: list[str] = []
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with contextlib.suppress(OSError):
            lines += table.read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(field[3] == _LISTENING and int(field[1].rpartition(":")[2], 16) == port for field in fields)


def _say(what: str) -> None:
    print(f"relay: {what}", flush=True)


async def _run(arguments: argparse.Namespace) -> None:
    relay = Relay(context_of(arguments.folder), arguments.engine, arguments.port, arguments.address)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, relay.end)
    _say(f"serves {arguments.engine} at port {arguments.port}")
    await relay.serve()


def main() -> None:
    """Runs the relay. Exits with `PORT_TAKEN` or `ENGINE_CLOSED` where it can't."""
    parser = argparse.ArgumentParser(prog="relay.py", description="Serve the Docker engine over TLS.")
    parser.add_argument("--folder", type=Path, default=Path("/run/secrets"), help="the folder of the keys")
    parser.add_argument("--engine", type=Path, default=Path("/var/run/docker.sock"), help="its socket")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--address", default="", help="the address to listen on; all by default")
    parser.add_argument("--hold", action="store_true", help="only sleep, to hold what a swarm reserves")
    arguments = parser.parse_args()
    if arguments.hold:
        # As process 1, whom no other signal ends.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(arguments.engine))
    except OSError as error:
        _say(f"the engine's socket {arguments.engine} can't be used: {error.strerror}")
        sys.exit(ENGINE_CLOSED)
    try:
        asyncio.run(_run(arguments))
    except OSError as error:
        _say(f"can't listen at port {arguments.port}, or read the keys: {error}")
        sys.exit(PORT_TAKEN if error.errno == errno.EADDRINUSE else 1)


if __name__ == "__main__":
    main()
