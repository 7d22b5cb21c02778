"""Long texts inside JSON, such as the output of steps, made a piece at a time."""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import AsyncIterator, Sequence
from json import encoder
from typing import Any

from rapidflow_web.logs.log import CHUNK, Log

_EAGER_BYTES = 256 * 1024
_PLACE = "\udc00"
"""Stands in JSON text where an output goes. No text that was stored has it: it can't be encoded."""

_escape = encoder.encode_basestring


class Output:
    """The output of a step up to now, as a value in what `encoded` takes."""

    def __init__(self, log: Log, step_id: int) -> None:
        span = log.layout.span(step_id)
        self._log = log
        self.start = span.start if span else 0
        # Fixed here, so that all outputs of an answer are of one moment.
        self.end = (log.size if span.end is None else span.end) if span else 0

    async def check(self) -> None:
        """Raises `LogUnreadable` where not even its first byte can be read."""
        await self._log.read(self.start, 1)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The output as a JSON string. Bytes that are not UTF-8 become U+FFFD. Raises `LogUnreadable`."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        position = self.start
        yield b'"'
        while position < self.end:
            chunk = await self._log.read(position, min(CHUNK, self.end - position))
            position += len(chunk)
            yield _escape(decoder.decode(chunk, position >= self.end))[1:-1].encode()
            # A log that is in memory is read without waiting, and others want their turn.
            await asyncio.sleep(0)
        yield b'"'


class LongText:
    """A text of any length as a value in what `encoded` takes. Bytes that are not UTF-8 become U+FFFD."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.start, self.end = 0, len(data)

    async def check(self) -> None:
        """It is there."""

    async def pieces(self) -> AsyncIterator[bytes]:
        """The text as a JSON string."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        yield b'"'
        for position in range(0, self.end, CHUNK):
            chunk = self._data[position : position + CHUNK]
            yield _escape(decoder.decode(chunk, position + CHUNK >= self.end))[1:-1].encode()
            await asyncio.sleep(0)
        yield b'"'


async def encoded(value: Any) -> bytes | AsyncIterator[bytes]:
    """`value` as JSON with its outputs: bytes where they are short, else what reads them while it is sent."""
    outputs: list[Output | LongText] = []

    def place(output: Output | LongText) -> str:
        outputs.append(output)
        return _PLACE

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=place)
    around = [part.encode() for part in text.split(f'"{_PLACE}"')]
    pieces = _joined(around, outputs)
    if sum(output.end - output.start for output in outputs) > _EAGER_BYTES:
        # What can't be read is said while there still is a status to say it with.
        await outputs[0].check()
        return pieces
    return b"".join([piece async for piece in pieces])


async def _joined(around: list[bytes], outputs: Sequence[Output | LongText]) -> AsyncIterator[bytes]:
    yield around[0]
    for output, following in zip(outputs, around[1:], strict=True):
        async for piece in output.pieces():
            yield piece
        yield following
