"""The log of one service of a build: what it printed, masked and bounded like the output of steps.

A server that takes the build up goes on at `source`, to which the log's index bears out what was stored.
"""

from __future__ import annotations

from collections.abc import Iterable

from rapidflow_web.builds.masks import Masks
from rapidflow_web.errors import one_line
from rapidflow_web.logs.log import LogStore
from rapidflow_web.logs.masking.masker import Added, Masker, Piece

_LAST_BYTES = 4096
_LONGEST_COMPLAINT = 1000


class ServiceLog:
    """Writes the log. `limit` is that of the job's log, in bytes."""

    def __init__(self, logs: LogStore, job_id: int, service: str, limit: int | None, masks: Masks) -> None:
        self._writer = logs.writer(job_id, limit, service)
        self._masks = masks
        self._masked = masks.values
        self._masker = Masker(masks.values)
        self._last = b""
        self._ended = False

    @property
    def source(self) -> int:
        """The byte of the service's output from which on it is to be given."""
        return self._writer.source

    async def begin(self) -> None:
        """Begins it, or goes on with what an earlier server wrote."""
        await self._writer.begin_output()
        self._masker = Masker(self._masks.values, await self._writer.at_line_start())
        size = self._writer.log.size
        self._last = await self._writer.log.read(max(0, size - _LAST_BYTES), _LAST_BYTES)

    async def append(self, data: bytes, source: int) -> None:
        """Takes more output; `source` is the offset after it. Raises `BuildError` where it masks too much."""
        if self._masks.values is not self._masked:
            self._masked = self._masks.values
            self._masker.mask_also(self._masked)
        await self._store(self._masker.feed(data, source))

    async def seal(self) -> None:
        """Ends it for good. Safe to call again."""
        if not self._ended:
            self._ended = True
            await self._store(item for item in self._masker.flush() if not isinstance(item, Added))
            await self._writer.seal_output()

    def close(self) -> None:
        """Gives the files back; unless it is sealed, a later server goes on. Safe to call again."""
        self._ended = True
        self._writer.close()

    @property
    def last_lines(self) -> str:
        """The end of what was printed, as part of a sentence; empty where nothing was."""
        return one_line(self._last.decode("utf-8", "replace"))[-_LONGEST_COMPLAINT:]

    async def _store(self, masked: Iterable[list[Piece] | Added]) -> None:
        for item in masked:
            if isinstance(item, Added):
                # No later server may go on before the line that adds it.
                await self._writer.check()
                await self._masks.add(item.values)
                continue
            for piece in item:
                await self._writer.append(*piece)
                self._last = (self._last + piece.data)[-_LAST_BYTES:]
