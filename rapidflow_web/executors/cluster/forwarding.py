"""Ports that builds publish on another machine, at ports of this machine's loopback."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import weakref
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import urlsplit

from rapidflow_web.errors import EngineUnavailable, RapidFlowError
from rapidflow_web.executors.cluster.inventory import Certificates, Node
from rapidflow_web.executors.cluster.tls import context_of
from rapidflow_web.executors.cluster.tunnel import (
    PORT_CHUNK,
    PORTS,
    Tunnel,
    abort_when_closed,
    is_dead,
    keep_alive,
    limit,
    port_name,
    ready,
)

_log = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_MOST_CONNECTIONS = 64
"""Connections to a machine at a time; further ones wait."""
_CONNECT_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
_WATCH_SECONDS = 5.0


class Forwards:
    """What leads to ports of one machine. `reach` gives it as it is now, or raises `EngineUnavailable`."""

    def __init__(self, reach: Callable[[], Node]) -> None:
        self._reach = reach
        self._free = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._scratch: memoryview | None = None
        self._context: tuple[Certificates, ssl.SSLContext] | None = None
        self._said: str | None = None
        self._forwards: weakref.WeakSet[Forward] = weakref.WeakSet()

    def open(self, published: Mapping[str, str]) -> Forward:
        """Leads to `published`: a build's own ports, with their addresses at the machine."""
        forward = Forward(self, self._free)
        self._forwards.add(forward)
        try:
            forward.listen(published)
        except OSError as error:
            self.complain(f"nothing can listen for it here: {_reason(error)}")
            forward.close()
        return forward

    def cut(self) -> None:
        """Ends the open connections: the machine is gone, and would not say so."""
        for forward in self._forwards:
            forward.cut()

    def close(self) -> None:
        """Ends everything."""
        for forward in self._forwards:
            forward.close()

    async def tunnel(self, port: int) -> Tunnel:
        """Connects to a port of the machine. Raises `OSError`, `EngineUnavailable`."""
        node = self._reach()
        certificates = cast(Certificates, node.certificates)  # without them, it has no relay
        if self._context is None or self._context[0] != certificates:
            context = context_of(certificates)
            context.set_alpn_protocols([PORTS])
            self._context = certificates, context
        self._scratch = self._scratch or memoryview(bytearray(PORT_CHUNK))
        relay = await _connected(node.address)
        try:
            tunnel = Tunnel(relay, self._context[1], self._scratch, port_name(port))
            await tunnel.handshake()
            if not tunnel.is_to_port:
                raise EngineUnavailable(
                    "its relay is older than this server; build the relay's image again, and run "
                    "'rapidflow cluster init --relay-image'"
                )
        except BaseException:
            relay.close()
            raise
        self._said = None
        return tunnel

    def complain(self, reason: str) -> None:
        """Logs why a port can't be reached, once until one can."""
        if reason != self._said:
            self._said = reason
            try:
                name = f"node {self._reach().name}"
            except EngineUnavailable:
                name = "a node"
            _log.warning("the port of a build on %s can't be reached: %s", name, reason)


class Forward:
    """Listens here for the ports of one build; each connection goes through the relay of its machine."""

    def __init__(self, forwards: Forwards, free: asyncio.Semaphore) -> None:
        self.ports: dict[str, str] = {}
        """The build's own port to the address here."""
        self._forwards = forwards
        self._free = free
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: dict[asyncio.Task[None], list[socket.socket]] = {}
        """With the sockets of each."""

    def listen(self, published: Mapping[str, str]) -> None:
        """Raises `OSError` where nothing can listen; to be closed then."""
        for port, address in published.items():
            listener = socket.create_server((_LOOPBACK, 0))
            listener.setblocking(False)
            task = asyncio.create_task(self._accept(listener, int(address.rpartition(":")[2])))
            task.add_done_callback(lambda _, listener=listener: listener.close())
            self._tasks.add(task)
            self.ports[port] = f"{_LOOPBACK}:{listener.getsockname()[1]}"
        self._tasks.add(asyncio.create_task(self._watch()))

    def cut(self) -> None:
        """Ends the open connections."""
        for task in self._connections:
            task.cancel()

    def close(self) -> None:
        """Ends everything. Safe to call again."""
        self.ports = {}
        for task in self._tasks:
            task.cancel()
        self.cut()

    async def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            await ready(listener, reading=True)
            await self._free.acquire()
            try:
                client, _ = listener.accept()
            except OSError as error:
                self._free.release()
                if not isinstance(error, BlockingIOError):  # that one has left again
                    self._forwards.complain(f"nothing can be accepted here: {_reason(error)}")
                    await asyncio.sleep(_PAUSE_SECONDS)
                continue
            client.setblocking(False)
            # Whatever ends it, a client must be able to tell a part from the whole.
            abort_when_closed(client)
            keep_alive(client)
            limit(client)
            task = asyncio.create_task(self._serve(client, port))
            self._connections[task] = [client]
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        for one in self._connections.pop(task):
            one.close()
        self._free.release()

    async def _serve(self, client: socket.socket, port: int) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                tunnel = await self._forwards.tunnel(port)
        except (OSError, TimeoutError, RapidFlowError) as error:
            return self._forwards.complain(_reason(error))
        self._connections[cast(asyncio.Task[None], asyncio.current_task())].append(tunnel.peer)
        try:
            await tunnel.relay(client)
        except* OSError as errors:
            if not tunnel.has_heard:
                # That is also how a relay refuses somebody, or says that nothing listens there.
                self._forwards.complain(_reason(cast(OSError, errors.exceptions[0])))
        else:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes(8))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for task, sockets in self._connections.items():
                if any(map(is_dead, sockets)):
                    task.cancel()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return getattr(error, "strerror", None) or str(error) or "its relay does not answer"


async def _connected(address: str) -> socket.socket:
    """A socket to the address of a node. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    parts = urlsplit(address)
    found = await loop.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, where = found[0]
    connected = socket.socket(family, kind, protocol)
    try:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit(connected)
        keep_alive(connected)
        await loop.sock_connect(connected, where)
    except BaseException:
        connected.close()
        raise
    return connected
