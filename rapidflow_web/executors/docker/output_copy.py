"""Reads one file out of the tar archive that an engine sends, from an offset on, without keeping it."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator

import aiohttp

from rapidflow_web.errors import BuildError, EngineUnavailable

_BLOCK = tarfile.BLOCKSIZE


class IncompleteCopy(BuildError):
    """The copy of the output in the container ends before what was read of it already."""


async def archived_file(stream: aiohttp.StreamReader, offset: int) -> AsyncIterator[bytes]:
    """The bytes from `offset` of the first regular file in the archive.

    Raises `IncompleteCopy` where the file is shorter than that, `EngineUnavailable` where the archive is.
    """
    while True:
        try:
            member = tarfile.TarInfo.frombuf(await stream.readexactly(_BLOCK), "utf-8", "surrogateescape")
        except (EOFError, tarfile.HeaderError):
            raise IncompleteCopy("the container has no copy of the output") from None
        if member.isreg():
            break
        await _skip(stream, -(-member.size // _BLOCK) * _BLOCK)
    if member.size < offset:
        raise IncompleteCopy("the container's copy of the output is incomplete; its disk was full")
    await _skip(stream, offset)
    missing = member.size - offset
    while missing:
        chunk = await _read(stream, missing)
        missing -= len(chunk)
        yield chunk


async def _skip(stream: aiohttp.StreamReader, count: int) -> None:
    while count:
        count -= len(await _read(stream, count))


async def _read(stream: aiohttp.StreamReader, count: int) -> bytes:
    chunk = await stream.read(min(count, 256 * 1024))
    if not chunk:
        raise EngineUnavailable("the engine broke off the container's copy of the output")
    return chunk
