"""How many clients may be connected, who may not, and when a connection ends."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import select
import socket
import struct
from collections.abc import Generator, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, ClassVar, Protocol, cast

from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.events import Closed, Event, RawData, Updated

from rapidflow_web import addresses

PATIENCE = 60
"""Seconds that a client has to send the head of a request, to send its body, and to take a plain answer."""
LONGEST_STALL = 3600
"""Seconds after which a client that takes nothing of a stream is cut off; it can go on from its offset."""
_LOOKS = 0.5
"""Seconds between two looks whether a client that sends nothing more is still there."""
_MOST_DESCRIPTORS = 65_536
"""More than clients take, and few enough for programs of builds that go through all of them."""


class _Answering(Protocol):
    """What reads the requests of a connection and writes the answers."""

    @property
    def is_answering(self) -> bool:
        """Whether a request has come whose answer has not been sent to its end."""
        ...

    async def probe(self) -> None:
        """Sends what every client ignores and what a client that is gone refuses, if nothing is sent yet."""


class Connection(TCPServer):
    """A connection that is refused where there are too many, and that ends with its client.

    The framework's own has no bound, and lingers for the whole keep-alive timeout: a thousand clients that
    come and go within that time would take all the file descriptors there are.
    """

    most: ClassVar[int] = 4096
    refusal: ClassVar[bytes] = b""
    """The answer to a client that is one too many."""
    shut_out: ClassVar[Sequence[IPv4Network | IPv6Network]] = ()
    """From where nobody may connect: there are the builds, other people's programs."""
    _open: ClassVar[int] = 0
    _client_left = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._ended = asyncio.Event()

    async def run(self) -> None:
        if self._is_shut_out():
            # At once, without the time that a close takes and with nothing that could be read.
            connection: socket.socket = self.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
            return
        if Connection._open >= Connection.most:
            self.writer.write(self.refusal)
            await self._close()
            return
        self.state = {**self.state, "connection": self}  # for answers that pass pieces on
        Connection._open += 1
        try:
            await super().run()
        except asyncio.CancelledError:
            pass  # the server ends, and asyncio would log a connection that is cancelled as a failure
        finally:
            Connection._open -= 1

    def _is_shut_out(self) -> bool:
        peer = self.writer.get_extra_info("peername") if Connection.shut_out else None
        if not peer:
            return False
        address = addresses.parse(peer[0])
        return any(address in network for network in Connection.shut_out)

    async def _read_data(self) -> None:
        with contextlib.suppress(OSError):
            while not self.reader.at_eof():
                await self.protocol.handle(RawData(await self.reader.read(MAX_RECV)))
            await self._answer_half_closed()
        self._client_left = True
        await self.protocol.handle(Closed())
        await self.idle_task.stop()

    async def _answer_half_closed(self) -> None:
        """Lets the answer come to its end where the client has only shut its sending side.

        A client that is gone looks the same at first, but its system refuses whatever is sent to it, and
        forgets the connection after about a minute.
        """
        protocol = cast(_Answering, self.protocol.protocol)
        if not protocol.is_answering or self._is_gone():
            return
        connection: socket.socket = self.writer.get_extra_info("socket")
        _probe_idle(connection, seconds=5)
        await asyncio.sleep(_LOOKS / 10)  # most answers are on their way
        if protocol.is_answering:
            await protocol.probe()
        while protocol.is_answering and not self._is_gone():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOKS):
                    await self._ended.wait()

    def _is_gone(self) -> bool:
        if self.writer.transport.is_closing():
            return True
        # After the client's end has come the loop does not look for errors of the connection any more.
        look = select.poll()
        look.register(self.writer.get_extra_info("socket").fileno(), 0)
        return bool(look.poll(0))

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._send(event.data)
        elif not (self._client_left and isinstance(event, Updated) and event.idle):
            await super().protocol_send(event)

    async def _send(self, data: bytes) -> None:
        async with self.send_lock:
            try:
                self.writer.write(data)
                if self.writer.transport.get_write_buffer_size():
                    # The client is behind.
                    with self._aborted_after(LONGEST_STALL):
                        await self.writer.drain()
                else:
                    await self.writer.drain()
            except (ConnectionError, RuntimeError):
                await self.protocol.handle(Closed())

    def pass_on(self, data: bytes) -> bool:
        """Sends a chunk of a chunked answer that has begun; False where the client is behind.

        Skips a dozen layers, which cost far more than the send itself.
        """
        transport = self.writer.transport
        if self.send_lock.locked() or transport.is_closing() or transport.get_write_buffer_size():
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True

    async def _close(self) -> None:
        self._ended.set()
        # It waits until the client has taken what was sent.
        with self._aborted_after(PATIENCE):
            await super()._close()

    @contextlib.contextmanager
    def _aborted_after(self, seconds: float) -> Generator[None]:
        abort = self.loop.call_later(seconds, self.writer.transport.abort)
        try:
            yield
        finally:
            abort.cancel()


def notice_vanished(listener: socket.socket) -> None:
    """Lets connections end, some minutes after their client has vanished without a word."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    _probe_idle(listener, seconds=60)


def _probe_idle(connection: socket.socket, seconds: int) -> None:
    """Has the system ask whether a client is there that has been silent for so long."""
    for name, value in (("TCP_KEEPIDLE", seconds), ("TCP_KEEPINTVL", min(20, seconds)), ("TCP_KEEPCNT", 5)):
        if hasattr(socket, name):  # not on every platform
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def raise_descriptor_limit() -> int:
    """Lets this process open as many files as its user may. Returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)
