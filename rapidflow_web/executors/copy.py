"""Reads one file out of the tar archive that an engine sends, from an offset on, without keeping it."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator

import aiohttp

from rapidflow_web.errors import BuildError

_BLOCK = tarfile.BLOCKSIZE


async def archived_file(stream: aiohttp.StreamReader, offset: int) -> AsyncIterator[bytes]:
    """The bytes from `offset` of the first regular file in the archive.

    Raises `BuildError` where the file is shorter than that: then bytes that were read once are gone.
    """
    while True:
        try:
            member = tarfile.TarInfo.frombuf(await stream.readexactly(_BLOCK), "utf-8", "surrogateescape")
        except (EOFError, tarfile.HeaderError):
            raise BuildError("the container has no copy of the output") from None
        if member.isreg():
            break
        await _skip(stream, -(-member.size // _BLOCK) * _BLOCK)
    if member.size < offset:
        raise BuildError("the container's copy of the output is incomplete; its disk was full")
    await _skip(stream, offset)
    missing = member.size - offset
    while missing:
        chunk = await stream.read(min(missing, 256 * 1024))
        if not chunk:
            raise BuildError("the engine broke off the container's copy of the output")
        missing -= len(chunk)
        yield chunk


async def _skip(stream: aiohttp.StreamReader, count: int) -> None:
    while count:
        chunk = await stream.read(min(count, 256 * 1024))
        if not chunk:
            raise BuildError("the engine broke off the container's copy of the output")
        count -= len(chunk)
