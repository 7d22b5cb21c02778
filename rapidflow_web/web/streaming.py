"""Sends a log as it is and as it grows, each reader at its own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType

from quart.wrappers.response import ResponseBody

from rapidflow_web import metrics
from rapidflow_web.logs.log import CHUNK, Log

_PAUSE_PER_FOLLOWER = 0.0003
_LONGEST_PAUSE = 0.03
_FULL_CHUNKS = 16
"""Streams up to which each is given as much at a time as there is sense in."""
_LEAST_CHUNK = 32 * 1024


class OpenStreams:
    """The streams that are being sent, so that a server that ends can cut them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def add(self, task: asyncio.Task[object]) -> None:
        """Takes note of the task that sends a stream."""
        self._tasks.add(task)

    def discard(self, task: asyncio.Task[object]) -> None:
        """Forgets it."""
        self._tasks.discard(task)

    @property
    def chunk(self) -> int:
        """Bytes that a stream may give at a time: what a client that does not read leaves in our memory."""
        return max(_LEAST_CHUNK, CHUNK * _FULL_CHUNKS // max(_FULL_CHUNKS, len(self._tasks)))

    def cut(self) -> None:
        """Ends all streams where they are, without the last chunk: clients see that it is not the end."""
        for task in self._tasks:
            task.cancel()


class LogBody(ResponseBody):
    """The bytes of a log from `start` to `end`, or with `end` None for as long as the build goes on.

    `begin` tells where the stream begins once that is known (see `Layout.after`); `start` counts from there.
    """

    def __init__(
        self, log: Log, streams: OpenStreams, begin: Callable[[], int | None], start: int, end: int | None
    ) -> None:
        self._log = log
        self._streams = streams
        self._begin = begin
        self._start = start
        self._end = end
        self._task: asyncio.Task[object] | None = None

    async def __aenter__(self) -> AsyncIterator[bytes]:
        self._task = asyncio.current_task()
        if self._task is not None:
            self._streams.add(self._task)
        self._log.followers += 1
        metrics.FOLLOWERS.inc()
        return self._chunks()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._log.followers -= 1
        metrics.FOLLOWERS.dec()
        if self._task is not None:
            self._streams.discard(self._task)

    async def _chunks(self) -> AsyncIterator[bytes]:
        log, loop = self._log, asyncio.get_running_loop()
        follow = self._end is None
        while (begin := self._begin()) is None:
            if not follow:
                return
            await log.changed()
        position = begin + self._start
        last_sent = 0.0
        while True:
            limit = self._streams.chunk
            if self._end is not None:
                limit = min(limit, begin + self._end - position)
            if chunk := await log.read(position, limit):
                position += len(chunk)
                metrics.SENT_BYTES.inc(len(chunk))
                yield chunk
                # Without this a reader that is always behind would keep all others from their turn.
                await asyncio.sleep(0)
            elif not follow or log.sealed:
                return
            else:
                # A line goes out at once. In a burst, the more readers there are, the more of it goes out at
                # a time, because each send costs far more than each byte.
                pause = min(_LONGEST_PAUSE, log.followers * _PAUSE_PER_FOLLOWER)
                if (early := last_sent + pause - loop.time()) > 0:
                    await asyncio.sleep(early)
                if log.size <= position and not log.sealed:
                    await log.changed()
                last_sent = loop.time()
