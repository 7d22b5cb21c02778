"""A tunnel between a peer that speaks TLS and one that does not: each end of it is one.

The relay has it on each machine (relay.py), which says why it needs the standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import Any

PORTS = "rapidflow-ports"
"""What a client asks for by ALPN that wants a port of loopback instead of the engine; `port_name` says which.
A relay that does not know of it answers nothing to it, so that nobody takes the engine for a build."""
CHUNK = 256 * 1024
"""Bytes that one direction of a connection takes at a time, and the next only when these are passed on."""
_BURST, _GATHER_SECONDS = 16 * 1024, 0.003
"""A burst of output goes on in fewer and larger pieces: all that follows costs per piece. It takes the relay
and the server half the CPU time."""
_DEAD_SECONDS = 60.0
"""A client that acknowledges nothing for so long is gone. One that only does not read acknowledges probes."""
_TCP_INFO = struct.Struct("=8B13I")
_CLOSED = 7
"""A state of a TCP socket."""


def port_name(port: int) -> str:
    """The server name by which a client asks for a port of loopback."""
    return f"port-{port}"


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
        self._peer = peer
        self._scratch = scratch  # of all tunnels: nothing in it outlives an await
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )
        self._sending = asyncio.Lock()

    @property
    def is_to_port(self) -> bool:
        """Whether both sides mean a port of loopback."""
        return self._tls.selected_alpn_protocol() == PORTS

    def port(self) -> int:
        """The port that the client asked for. Raises `OSError` where it asked for none."""
        try:
            port = int(str(getattr(self._tls, "asked_for", None)).removeprefix(port_name(0)[:-1]))
            if not 0 < port < 2**16:
                raise ValueError
        except ValueError:
            raise OSError("it asked for a port that there is not") from None
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
                    self._peer.send(self._outgoing.read())  # the alert that says why
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

    def is_dead(self) -> bool:
        """Whether the peer is gone without a word, though much or nothing may be on its way to it."""
        info = _TCP_INFO.unpack(
            self._peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size).ljust(_TCP_INFO.size)
        )
        state, probes, unacknowledged, last_acknowledged = info[0], info[3], info[12], info[20]
        # Where its window is closed, probes are what it has to acknowledge; one may be under way.
        return state == _CLOSED or (
            (unacknowledged > 0 or probes > 1) and last_acknowledged > _DEAD_SECONDS * 1000
        )

    async def _to_peer(self, plain: socket.socket) -> None:
        while size := await _received(plain, self._scratch):
            self._tls.write(self._scratch[:size])
            await self._send()
            # It is the turn of others, however fast these two are.
            await asyncio.sleep(_GATHER_SECONDS if _BURST <= size < CHUNK // 2 else 0)
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()  # sends close_notify; whatever the peer still says can be read
        await self._send()

    async def _to_plain(self, plain: socket.socket) -> None:
        ended = False
        while not ended:
            size, ended = self._decrypt()
            await _sent(plain, self._scratch[:size])
            if self._outgoing.pending and not self._sending.locked():
                await self._send()
            if not size and not ended and not await self._receive():
                raise ConnectionResetError("the peer left")
        plain.shutdown(socket.SHUT_WR)

    def _decrypt(self) -> tuple[int, bool]:
        """Reads what has come; returns how many bytes and whether the peer has ended its stream."""
        read: Any = self._tls.read  # into a buffer, which its type does not know
        size = 0
        try:
            while size < CHUNK and (count := read(CHUNK - size, self._scratch[size:])):
                size += count
        except ssl.SSLWantReadError:
            return size, False
        except ssl.SSLZeroReturnError:
            pass
        return size, size < CHUNK

    async def _receive(self) -> bool:
        """Gives to TLS what has come from the peer; False at the end."""
        size = await _received(self._peer, self._scratch[: CHUNK // 2])
        self._incoming.write(self._scratch[:size])
        return size > 0

    async def _send(self) -> None:
        async with self._sending:
            while data := self._outgoing.read():
                await _sent(self._peer, memoryview(data))


async def _received(source: socket.socket, buffer: memoryview) -> int:
    """Waits for bytes of `source` and puts them into `buffer`; returns how many, 0 at the end."""
    while True:
        try:
            return source.recv_into(buffer)
        except BlockingIOError:
            await _ready(source, reading=True)


async def _sent(target: socket.socket, data: memoryview) -> None:
    """Sends all of `data`, which the caller may change only after this, or before the first await of it."""
    while data:
        try:
            data = data[target.send(data) :]
        except BlockingIOError:
            if not data.readonly:
                data = memoryview(bytes(data))
            await _ready(target, reading=False)


async def _ready(waited_for: socket.socket, *, reading: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    number = waited_for.fileno()
    if reading:
        loop.add_reader(number, tell)
    else:
        loop.add_writer(number, tell)
    try:
        await ready
    finally:
        if reading:
            loop.remove_reader(number)
        else:
            loop.remove_writer(number)
