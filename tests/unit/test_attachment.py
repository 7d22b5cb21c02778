"""The engine's connection to a container: every byte, and its end noticed also while nobody reads."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiodocker
import aiohttp
import pytest

from rapidflow_web.executors.docker.attachment import Attachment, attach
from tests.support.builds import eventually

_UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
_MEGABYTES = 8


def frame(data: bytes) -> bytes:
    return struct.pack(">BxxxL", 1, len(data)) + data


@asynccontextmanager
async def attached(folder: Path) -> AsyncGenerator[tuple[Attachment, asyncio.StreamWriter]]:
    """An attachment, and the engine's end of it."""
    accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_UPGRADED)
        accepted.set_result(writer)

    path = folder / "engine"
    server = await asyncio.start_unix_server(accept, path)
    connector = aiohttp.UnixConnector(str(path))
    docker = aiodocker.Docker(url="unix://localhost", connector=connector, api_version="v1.41")
    try:
        attachment = await attach(docker, "some")
        engine = await accepted
        yield attachment, engine
        attachment.close()
        engine.close()
    finally:
        await docker.close()
        await connector.close()
        server.close()
        await server.wait_closed()


async def test_a_burst_arrives_byte_for_byte_however_it_is_framed(tmp_path: Path) -> None:
    data = b"".join(b"%d\n" % number for number in range(1_200_000))[: _MEGABYTES << 20]
    async with attached(tmp_path) as (attachment, engine):

        async def send() -> None:
            position = 0
            for number in range(10**9):
                part = data[position : position + 1 + number * 7919 % 32768]
                if not part:
                    break
                engine.write(frame(part))
                position += len(part)
                await engine.drain()
            engine.close()

        sending = asyncio.create_task(send())
        received = b""
        while piece := await attachment.read():
            received += piece
        await sending
    assert received == data


async def test_the_end_is_noticed_while_nobody_reads_what_was_put_back(tmp_path: Path) -> None:
    said = b"x" * 100_000
    async with attached(tmp_path) as (attachment, engine):
        engine.write(frame(said[:50_000]) + frame(said[50_000:]))
        await engine.drain()
        read = b""
        while len(read) < len(said):
            read += await attachment.read()
        attachment.unread(read)
        engine.close()
        await eventually(attachment.is_eof, "the end is noticed")
        assert await attachment.read() == said
        assert await attachment.read() == b""


async def test_a_marker_that_came_before_it_was_asked_for_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rapidflow_web.executors.docker.attachment._PIECE_SECONDS", 1_000.0)
    async with attached(tmp_path) as (attachment, _):
        attachment.feed_data(frame(b"x" * 50_000))
        await attachment.read()
        attachment.feed_data(frame(b"y\x1e1\n"))
        assert await asyncio.wait_for(attachment.read(), 60) == b"y\x1e1\n"


async def test_frames_of_a_byte_make_the_engine_wait_by_the_memory_that_they_take(tmp_path: Path) -> None:
    async with attached(tmp_path) as (attachment, _):
        transport = attachment._transport  # pyright: ignore[reportPrivateUsage]
        attachment.feed_data(frame(b"x") * 1_000)
        assert transport.is_reading()
        attachment.feed_data(frame(b"x") * 10_000)
        assert not transport.is_reading()
        assert await attachment.read() == b"x" * 11_000
        assert transport.is_reading()
