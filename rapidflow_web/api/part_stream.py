"""The stream of a lead job's log without the lines about some of its parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Set

from rapidflow_web.builds import part_lines
from rapidflow_web.logs.log import Log


async def without(log: Log, parts: Set[bytes], *, follow: bool) -> AsyncIterator[bytes]:
    """The lines of a log but those about these parts, with `follow` until the build ends.

    Raises `LogUnreadable`.
    """
    position, rest = 0, b""
    while True:
        if chunk := await log.read(position):
            position += len(chunk)
            *lines, rest = (rest + chunk).splitlines(keepends=True) or [b""]
            if rest.endswith(b"\n"):
                lines, rest = [*lines, rest], b""
            if kept := b"".join(line for line in lines if part_lines.part_in(line, parts) is None):
                yield kept
        elif not follow or log.sealed:
            return
        elif log.size <= position:
            await log.changed()


async def after(pieces: AsyncIterator[bytes], offset: int) -> AsyncIterator[bytes]:
    """The pieces without their first `offset` bytes."""
    async for piece in pieces:
        if offset < len(piece):
            yield piece[offset:]
        offset = max(0, offset - len(piece))
