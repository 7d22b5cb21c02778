"""A container's standard streams, by attach: an own demultiplexer, twice as fast as the client's."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import aiodocker
import aiohttp

from rapidflow_web.executors.docker import engine_client

_HEADER = struct.Struct(">BxxxL")
_HIGH_WATER = 1024 * 1024
"""Bytes that are held before the engine has to wait, and the build with it."""
_FRAME_BYTES = 200
"""What a frame takes besides its own bytes, of which it may have a single one."""
_BURST_BYTES = 16 * 1024
_PIECE_BYTES = 128 * 1024
_PIECE_SECONDS = 0.004
"""How long it may take for so many bytes to come."""
_MARKER = b"\x1e"
"""What markers of the agent begin with. After one among the last bytes, nothing more may come for a while."""
_MARKER_BYTES = 64
_ATTACH_SECONDS = 30.0
_REASONS = {404: "it is gone", 409: "it is paused or being restarted"}
"""What the engine means; its own words can't be read where the connection was to become another one."""


class Attachment:
    """An open connection to a container's standard input and output."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        connection = response.connection
        protocol = connection.protocol if connection else None
        if connection is None or protocol is None or connection.transport is None:
            raise aiohttp.ClientConnectionError("the engine closed the connection")
        self._response = response
        self._transport = connection.transport
        self._protocol: Any = protocol
        self._tail: bytes = b""
        self._chunks: list[bytes | memoryview] = []
        self._size = 0
        self._paused = self._ended = self._burst = self._gathers = self._marked = False
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        _keep_alive(self._transport)
        protocol.force_close()
        protocol.set_parser(self, self)

    async def read(self) -> bytes:
        """What has arrived since the last call, at least a byte; b"" at the end."""
        if self._burst and self._size < _PIECE_BYTES and not self._marked and not self._ended:
            # All that follows costs per call, not per byte: a burst goes on in fewer and larger pieces.
            self._gathers = True
            self._arrived.clear()
            timer = self._loop.call_later(_PIECE_SECONDS, self._arrived.set)
            try:
                await self._arrived.wait()
            finally:
                timer.cancel()
                self._gathers = False
        while not self._chunks and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        data = bytes(self._chunks[0]) if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        self._marked = False
        self._burst = len(data) >= _BURST_BYTES
        if self._paused and not self._ended:
            self._paused = False
            self._transport.resume_reading()
        return data

    def unread(self, data: bytes) -> None:
        """Puts back what was read, for the next `read` to give first."""
        if data:
            self._chunks.insert(0, data)
            self._size += len(data)

    async def write(self, data: bytes) -> None:
        """Gives `data` to the container's standard input; waits while the engine does not take it."""
        if self._ended:
            raise aiohttp.ClientConnectionError("the container takes no more input")
        self._transport.write(data)
        await self._protocol._drain_helper()

    def close(self) -> None:
        """Lets go. The container runs on, unheard. Safe to call again."""
        self.feed_eof()
        # Not by the response alone: that would first wait for an engine to take what was written.
        self._transport.abort()
        self._response.close()

    # What aiohttp calls: a parser of the connection's bytes, and the payload it parses them to.

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Takes bytes off the connection."""
        if self._tail:
            data = self._tail + data
        view = memoryview(data)  # what is joined later need not be copied before
        position, length = 0, len(data)
        while length - position >= _HEADER.size:
            _, size = _HEADER.unpack_from(data, position)
            end = position + _HEADER.size + size
            if end > length:
                break
            self._chunks.append(view[position + _HEADER.size : end])
            self._size += size + _FRAME_BYTES
            position = end
        self._tail = data[position:]
        self._marked = _MARKER in data[-_MARKER_BYTES:]
        if not self._gathers or self._size >= _PIECE_BYTES or self._marked:
            self._arrived.set()
        if self._size > _HIGH_WATER and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        return False, b""

    def feed_eof(self) -> None:
        """Takes note that the connection ended."""
        self._ended = True
        self._arrived.set()

    def set_exception(self, *_: object) -> None:
        """The same, for a connection that broke: what was lost is in the container's copy."""
        self.feed_eof()

    def is_eof(self) -> bool:
        """Whether the connection ended."""
        return self._ended


def _keep_alive(transport: asyncio.Transport) -> None:
    """Notices an engine on another machine that went away without a word, though a step may be silent."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def attach(docker: aiodocker.Docker, container_id: str) -> Attachment:
    """Opens the streams of a container, which need not have been started."""
    async with asyncio.timeout(_ATTACH_SECONDS):
        response = await docker.session.post(
            await engine_client.url(docker, f"containers/{container_id}/attach"),
            params={"stream": "1", "stdin": "1", "stdout": "1", "stderr": "1"},
            headers={"Connection": "Upgrade", "Upgrade": "tcp"},
            timeout=aiohttp.ClientTimeout(total=None),
            read_until_eof=False,
        )
        if response.status >= 400:
            response.close()
            raise aiodocker.DockerError(response.status, _REASONS.get(response.status, str(response.reason)))
    return Attachment(response)
