"""The log of a lead job: a line for each thing that happened with a part, which begins with its name."""

from __future__ import annotations

from collections.abc import Container, Iterable

from rapidflow_web.logs.log import Log

_BETWEEN = b": "


def line_of(part: str, words: str) -> bytes:
    """A line about a part."""
    return part.encode() + _BETWEEN + words.encode() + b"\n"


async def text_of(log: Log) -> bytes:
    """All that the log has now, which is short: it has a few lines for each part. Raises `LogUnreadable`."""
    pieces: list[bytes] = []
    position, end = 0, log.size
    while position < end and (piece := await log.read(position, end - position)):
        pieces.append(piece)
        position += len(piece)
    return b"".join(pieces)


def by_part(text: bytes, names: Iterable[str]) -> dict[str, bytes]:
    """The lines about each part, by its name."""
    found = {name.encode(): list[bytes]() for name in names}
    for line in text.splitlines(keepends=True):
        if (name := part_in(line, found)) is not None:
            found[name].append(line)
    return {name.decode(): b"".join(lines) for name, lines in found.items()}


def part_in(line: bytes, names: Container[bytes]) -> bytes | None:
    """The part that a line is about; None for one of the server's own, such as the last."""
    end = line.find(_BETWEEN)
    while end >= 0:
        if line[:end] in names:  # values of a matrix may have colons, too
            return line[:end]
        end = line.find(_BETWEEN, end + 1)
    return None
