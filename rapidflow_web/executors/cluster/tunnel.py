"""Passes bytes between a peer that speaks TLS and a plain socket.

Used by the relay and by the server. It needs the standard library only, because the relay's image has nothing
else.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from typing import Any

PORTS = "rapidflow-ports"
"""What a client asks for by ALPN that wants a port of loopback instead of the engine; `port_name` says which.
A relay that does not know of it answers nothing to it, so that nobody takes the engine for a build."""
CHUNK, PORT_CHUNK = 256 * 1024, 64 * 1024
"""Bytes that one direction of a connection takes at a time, and the next only when these are passed on; the
second for ports of builds, whose clients may be many and read nothing."""
_PORT_BUFFER = 512 * 1024
"""Bytes that the system holds for each direction of a connection to a port."""
_BURST, _GATHER_SECONDS = 16 * 1024, 0.003
"""A burst of output goes on in fewer and larger pieces: all that follows costs per piece. It takes the relay
and the server half the CPU time."""
_KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}
_ABORT = struct.pack("ii", 1, 0)
_PORT_NAME = re.compile(r"port-([1-9][0-9]{0,4})")
_DEAD_SECONDS = 60.0
"""A client that acknowledges nothing for so long is gone. One that only does not read acknowledges probes."""
_TCP_INFO = struct.Struct("=8B13I")
_CLOSED = 7
"""A state of a TCP socket."""


def port_name(port: int) -> str:
    """The server name by which a client asks for a port of loopback."""
    return f"port-{port}"


def keep_alive(connection: socket.socket) -> None:
    """Finds out within about a minute that the other side is gone, though nothing is sent."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def limit(connection: socket.socket) -> None:
    """Has the system hold little for a connection to a port."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, _PORT_BUFFER)


def abort_when_closed(connection: socket.socket) -> None:
    """Has the other side of a connection see that it is broken off, where it would see a proper end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)


def is_dead(connection: socket.socket) -> bool:
    """Whether the other side is gone without a word, though much or nothing may be on its way to it."""
    info = _TCP_INFO.unpack(
        connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size).ljust(_TCP_INFO.size)
    )
    state, probes, unacknowledged, last_acknowledged = info[0], info[3], info[12], info[20]
    # Where its window is closed, probes are what it has to acknowledge; one may be under way.
    return state == _CLOSED or (
        (unacknowledged > 0 or probes > 1) and last_acknowledged > _DEAD_SECONDS * 1000
    )


def note_name(tls: Any, name: str | None, _: ssl.SSLContext) -> None:
    """What a server of TLS calls with the server name (SNI) of a client, so that `Tunnel` finds it."""
    tls.asked_for = name


class Tunnel:
    """A peer that speaks TLS and one that does not, each with a socket that never blocks.

    The end of one's stream reaches the other: as TLS's close_notify the peer, by shutdown the plain one.
    asyncio's own TLS would close both directions with one. TLS in memory also takes fewer calls than on the
    socket, which would be asked for each record of 16 KiB. With `server_name`, the peer is the server of TLS.
    """

    def __init__(
        self,
        peer: socket.socket,
        context: ssl.SSLContext,
        scratch: memoryview,
        server_name: str | None = None,
    ) -> None:
        self.peer = peer
        self.scratch = scratch  # of all tunnels: nothing in it outlives an await
        self.has_heard = False
        """Whether the peer has sent anything."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )
        self._sending = asyncio.Lock()
        self._has_to_end = False

    @property
    def is_to_port(self) -> bool:
        """Whether both sides mean a port of loopback."""
        return self._tls.selected_alpn_protocol() == PORTS

    def port(self) -> int:
        """The port that the client asked for. Raises `OSError` where it asked for none."""
        match = _PORT_NAME.fullmatch(str(getattr(self._tls, "asked_for", None)))
        if match is None or (port := int(match[1])) >= 2**16:
            raise OSError("a client asked for a port that there is not")
        return port

    async def handshake(self) -> None:
        """Raises `OSError` for a peer that is not to be spoken with."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._send()
                if not await self._receive():
                    raise ConnectionResetError("it left in its handshake") from None
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self.peer.send(self._outgoing.read())  # the alert that says why
                raise
            else:
                return await self._send()

    async def relay(self, plain: socket.socket, parting: float | None = None) -> None:
        """Passes bytes on until both sides have ended; the peer at most `parting` seconds after the other.

        Raises a group of `OSError` where one breaks.
        """
        async with asyncio.TaskGroup() as directions:
            to_plain = directions.create_task(self._to_plain(plain))
            await self._to_peer(plain)
            if not (await asyncio.wait({to_plain}, timeout=parting))[0]:
                raise ConnectionAbortedError("it stayed when the other side had ended")

    async def _to_peer(self, plain: socket.socket) -> None:
        while size := await _received(plain, self.scratch):
            self._tls.write(self.scratch[:size])
            await self._send()
            # It is the turn of others, however fast these two are.
            await asyncio.sleep(_GATHER_SECONDS if _BURST <= size < len(self.scratch) // 2 else 0)
        self._has_to_end = True
        await self._end()

    async def _to_plain(self, plain: socket.socket) -> None:
        ended = False
        while not ended:
            size, ended = self._decrypt()
            await _sent(plain, self.scratch[:size])
            await self._end()
            if self._outgoing.pending and not self._sending.locked():
                await self._send()
            self.has_heard |= size > 0
            if not size and not ended and not await self._receive():
                raise ConnectionResetError("the peer left")
            await asyncio.sleep(0)  # likewise
        plain.shutdown(socket.SHUT_WR)

    async def _end(self) -> None:
        """Sends close_notify where it has to be sent; whatever the peer still says can be read.

        Not while anything waits to be read: OpenSSL then looks for the peer's answer, and fails on the rest.
        """
        if self._has_to_end and not self._incoming.pending and not self._tls.pending():
            self._has_to_end = False
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            await self._send()

    def _decrypt(self) -> tuple[int, bool]:
        """Reads what has come; returns how many bytes and whether the peer has ended its stream."""
        read: Any = self._tls.read  # into a buffer, which its type does not know
        size, most = 0, len(self.scratch)
        try:
            while size < most and (count := read(most - size, self.scratch[size:])):
                size += count
        except ssl.SSLWantReadError:
            return size, False
        except ssl.SSLZeroReturnError:
            pass
        return size, size < most

    async def _receive(self) -> bool:
        """Gives to TLS what has come from the peer; False at the end."""
        size = await _received(self.peer, self.scratch[: len(self.scratch) // 2])
        self._incoming.write(self.scratch[:size])
        return size > 0

    async def _send(self) -> None:
        async with self._sending:
            while data := self._outgoing.read():
                await _sent(self.peer, memoryview(data))


async def _received(source: socket.socket, buffer: memoryview) -> int:
    """Waits for bytes of `source` and puts them into `buffer`; returns how many, 0 at the end."""
    while True:
        try:
            return source.recv_into(buffer)
        except BlockingIOError:
            await ready(source, reading=True)


async def _sent(target: socket.socket, data: memoryview) -> None:
    """Sends all of `data`, which the caller may change only after this, or before the first await of it."""
    while data:
        try:
            data = data[target.send(data) :]
        except BlockingIOError:
            if not data.readonly:
                data = memoryview(bytes(data))
            await ready(target, reading=False)


async def ready(waited_for: socket.socket, *, reading: bool) -> None:
    """Waits until a socket can be read, or accepted from, or else written."""
    loop = asyncio.get_running_loop()
    is_ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not is_ready.done():
            is_ready.set_result(None)

    number = waited_for.fileno()
    if reading:
        loop.add_reader(number, tell)
    else:
        loop.add_writer(number, tell)
    try:
        await is_ready
    finally:
        if reading:
            loop.remove_reader(number)
        else:
            loop.remove_writer(number)
