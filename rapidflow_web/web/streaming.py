"""Sends a log as it is and as it grows, each reader at its own pace."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator, Callable
from types import TracebackType

from quart.wrappers.response import ResponseBody

from rapidflow_web import metrics
from rapidflow_web.accounts.authentication import Access, Reader
from rapidflow_web.db.database import is_away
from rapidflow_web.logs.log import CHUNK, Log
from rapidflow_web.web.live_log import LiveLog, Passing, more

_log = logging.getLogger(__name__)

_FULL_CHUNKS = 16
"""Streams up to which each is given as much at a time as there is sense in."""
_LEAST_CHUNK = 32 * 1024
_REVIEW_SECONDS = 2.0
"""How often it is asked anew who may still read; `rapidflow user` changes that beside the server."""


class OpenStreams:
    """The long answers that are being sent, each with its reader, whose access may end before they do."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._readers: dict[asyncio.Task[object], Reader] = {}
        self._live: weakref.WeakValueDictionary[Log, LiveLog] = weakref.WeakValueDictionary()
        self._reviewing = asyncio.Lock()
        self._asked = self._reviewed = 0

    def add(self, task: asyncio.Task[object], reader: Reader) -> None:
        """Takes note of the task that sends a stream."""
        self._readers[task] = reader

    def discard(self, task: asyncio.Task[object]) -> None:
        """Forgets it."""
        self._readers.pop(task, None)

    @property
    def chunk(self) -> int:
        """Bytes that a stream may give at a time: what a client that does not read leaves in our memory."""
        return max(_LEAST_CHUNK, CHUNK * _FULL_CHUNKS // max(_FULL_CHUNKS, len(self._readers)))

    def live(self, log: Log) -> LiveLog:
        """Those who have read a log to its end."""
        found = self._live.get(log)
        if found is None:
            found = self._live[log] = LiveLog(log, lambda: self.chunk)
        return found

    def cut(self) -> None:
        """Ends all streams where they are, without the last chunk: clients see that it is not the end."""
        for task in self._readers:
            task.cancel()

    async def review(self) -> None:
        """Cuts the streams of those who may not read them any more, and no others.

        Who asks while a review is on its way shares the next one.
        """
        self._asked += 1
        mine = self._asked
        async with self._reviewing:
            if self._reviewed < mine:
                asked = self._asked
                await self._review()
                self._reviewed = asked

    async def _review(self) -> None:
        readers = set(self._readers.values())
        if not readers:
            return
        try:
            gone = readers - await self._access.may_read(readers)
        except Exception as error:
            if not is_away(error):
                raise
            return  # nobody can be known while the database is away; they are asked for again soon
        for task, reader in self._readers.items():
            # Streams that began meanwhile are of people who were let in meanwhile.
            if reader in gone:
                task.cancel()

    async def keep_reviewing(self) -> None:
        """Reviews now and then, until cancelled: sessions and tokens expire without anybody's doing."""
        while True:
            await asyncio.sleep(_REVIEW_SECONDS)
            try:
                await self.review()
            except Exception:
                _log.exception("who may still read could not be found out; it is tried again")


class LongBody(ResponseBody):
    """Bytes that are made while they are sent to `reader`, for as long as that may read them."""

    def __init__(self, streams: OpenStreams, reader: Reader, chunks: AsyncIterator[bytes]) -> None:
        self._streams = streams
        self._reader = reader
        self._chunks = chunks
        self._task: asyncio.Task[object] | None = None

    async def __aenter__(self) -> AsyncIterator[bytes]:
        self._task = asyncio.current_task()
        if self._task is not None:
            self._streams.add(self._task, self._reader)
        return self._chunks

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._streams.discard(self._task)


class LogBody(LongBody):
    """The bytes of a log from `start` to `end`, or with `end` None for as long as the build goes on.

    `begin` tells where the stream begins once that is known (see `Layout.after`); `start` counts from there.
    With `connection`, which is for chunked answers, what follows the first piece goes there.
    """

    def __init__(
        self,
        log: Log,
        streams: OpenStreams,
        reader: Reader,
        begin: Callable[[], int | None],
        start: int,
        end: int | None,
        connection: Passing | None = None,
    ) -> None:
        super().__init__(streams, reader, self._read())
        self._connection = connection
        self._log = log
        self._begin = begin
        self._start = start
        self._end = end

    async def __aenter__(self) -> AsyncIterator[bytes]:
        self._log.followers += 1
        metrics.FOLLOWERS.inc()
        return await super().__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._log.followers -= 1
        metrics.FOLLOWERS.dec()
        await super().__aexit__(exc_type, exc_value, tb)

    async def _read(self) -> AsyncIterator[bytes]:
        log, loop = self._log, asyncio.get_running_loop()
        follow = self._end is None
        while (begin := self._begin()) is None:
            if not follow:
                return
            await log.changed()
        position = begin + self._start
        last_sent = 0.0
        live: LiveLog | None = None
        connection: Passing | None = None  # the first piece makes sure that the head has been sent
        while True:
            limit = self._streams.chunk
            if self._end is not None:
                limit = min(limit, begin + self._end - position)
            if chunk := await log.read(position, limit):
                position += len(chunk)
                metrics.SENT_BYTES.inc(len(chunk))
                if connection is None or not connection.pass_on(chunk):
                    yield chunk
                    connection = self._connection
                if position < log.size:
                    # Without this a reader that is always behind would keep all others from their turn.
                    await asyncio.sleep(0)
            elif not follow or log.sealed:
                return
            elif connection is not None:
                live = live or self._streams.live(log)
                position = await live.follow(connection, position)
            else:
                await more(log, position, last_sent)
                last_sent = loop.time()
