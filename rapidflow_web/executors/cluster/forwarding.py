"""Ports that builds publish on other machines, at ports of this machine's loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from rapidflow_web.errors import EngineUnavailable, RapidFlowError
from rapidflow_web.executors.cluster.inventory import Node
from rapidflow_web.executors.cluster.tls import context_of
from rapidflow_web.executors.cluster.tunnel import CHUNK, PORTS, Tunnel, port_name

_log = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_MOST_CONNECTIONS = 100
"""Connections to a port at a time; further ones wait."""
_CONNECT_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
_scratch = memoryview(bytearray(CHUNK))
"""Of all tunnels: see there."""


class Forward:
    """Listens here for the ports of one build; each connection goes through the relay of its machine.

    `published` maps a port of the build to its address at that machine, and `ports` to the one here. `node`
    is asked for each connection: keys and addresses change. Raises `OSError` where nothing can listen.
    """

    def __init__(self, published: Mapping[str, str], node: Callable[[], Node | None]) -> None:
        self._node = node
        self._said: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self.ports: dict[str, str] = {}
        with contextlib.ExitStack() as listening:
            for port, address in published.items():
                listener = listening.enter_context(socket.create_server((_LOOPBACK, 0)))
                listener.setblocking(False)
                self.ports[port] = f"{_LOOPBACK}:{listener.getsockname()[1]}"
                task = asyncio.create_task(self._accept(listener, int(address.rpartition(":")[2])))
                task.add_done_callback(lambda _, listener=listener: listener.close())
                self._tasks.add(task)
            listening.pop_all()

    def cut(self) -> None:
        """Ends the open connections: the machine is gone, and would not say so."""
        for task in self._connections:
            task.cancel()

    def close(self) -> None:
        """Ends everything. Safe to call again."""
        for task in self._tasks:
            task.cancel()
        self.cut()

    async def _accept(self, listener: socket.socket, port: int) -> None:
        loop = asyncio.get_running_loop()
        free = asyncio.Semaphore(_MOST_CONNECTIONS)
        while True:
            await free.acquire()
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError as error:
                free.release()
                self._complain(f"can't accept a connection: {error.strerror}")
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            client.setblocking(False)
            task = asyncio.create_task(self._serve(client, port))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            task.add_done_callback(lambda _, client=client: (client.close(), free.release()))

    async def _serve(self, client: socket.socket, port: int) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                relay, tunnel = await self._tunnel(port)
        except (OSError, TimeoutError, RapidFlowError) as error:
            return self._complain(_reason(error))
        # Where one side breaks off, the other sees its end.
        with relay, contextlib.suppress(OSError):
            try:
                await tunnel.relay(client)
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None

    async def _tunnel(self, port: int) -> tuple[socket.socket, Tunnel]:
        """A connection to a port of the machine. Raises `OSError`, `EngineUnavailable`."""
        node = self._node()
        if node is None or node.certificates is None:
            raise EngineUnavailable("it is not among the machines of this server")
        context = context_of(node.certificates)
        context.set_alpn_protocols([PORTS])
        relay = await _connected(node.address)
        try:
            tunnel = Tunnel(relay, context, _scratch, port_name(port))
            await tunnel.handshake()
            if not tunnel.is_to_port:
                raise EngineUnavailable(
                    "its relay is older than this server; build its image again, and run "
                    "'rapidflow cluster init --relay-image'"
                )
        except BaseException:
            relay.close()
            raise
        return relay, tunnel

    def _complain(self, reason: str) -> None:
        if reason != self._said:
            self._said = reason
            node = self._node()
            name = f"node {node.name}" if node is not None else "a node that is gone"
            _log.warning("the port of a build on %s can't be reached: %s", name, reason)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error) or "its relay does not answer"


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
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await loop.sock_connect(connected, where)
    except BaseException:
        connected.close()
        raise
    return connected
