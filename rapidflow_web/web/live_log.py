"""Sends what a log grows by to all who have read it to its end, in one go.

Life: a stream that has sent all there is calls `LiveLog.follow` with its connection. One task for each log
then writes every piece to all of these connections: a task of each stream's own would cost several times as
much as the write. A stream gets its turn back when its client falls behind, and when the log is sealed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rapidflow_web import metrics
from rapidflow_web.errors import LogUnreadable
from rapidflow_web.logs.log import Log

_PAUSE_PER_FOLLOWER = 0.00005
_LONGEST_PAUSE = 0.03
_TURN_SECONDS = 0.005
"""After which others have their turn, however many connections there are to write to."""


class Passing(Protocol):
    """A connection that takes pieces of a chunked answer."""

    def pass_on(self, data: bytes) -> bool:
        """Sends a piece; False where that has to wait for the client, or can't be."""
        ...


async def more(log: Log, position: int, last_sent: float) -> None:
    """Returns when a log that was sent up to `position`, at `last_sent` of the loop's time, is to be read on.

    A line goes out at once, and so does the end. In a burst, the more readers there are, the more of it goes
    out at a time, because each send costs far more than each byte.
    """
    if log.sealed and log.size <= position:
        return
    pause = min(_LONGEST_PAUSE, log.followers * _PAUSE_PER_FOLLOWER)
    if (early := last_sent + pause - asyncio.get_running_loop().time()) > 0:
        await asyncio.sleep(early)
    if log.size <= position and not log.sealed:
        await log.changed()


@dataclass(slots=True, eq=False)
class _Follower:
    connection: Passing
    position: int
    left: asyncio.Future[None]

    def leave(self) -> None:
        if not self.left.done():
            self.left.set_result(None)


class LiveLog:
    """Those who have read a log to its end. `chunk` tells how many bytes they may be given at a time."""

    def __init__(self, log: Log, chunk: Callable[[], int]) -> None:
        self._log = log
        self._chunk = chunk
        self._followers: set[_Follower] = set()
        self._sending: asyncio.Task[None] | None = None
        self._last_sent = 0.0

    async def follow(self, connection: Passing, position: int) -> int:
        """Sends the log to a connection that has been given it up to `position`, which is its end.

        Returns up to where it was sent, when the client is behind or gone, or the log sealed or unreadable.
        """
        loop = asyncio.get_running_loop()
        follower = _Follower(connection, position, loop.create_future())
        self._followers.add(follower)
        if self._sending is None:
            self._sending = loop.create_task(self._send(position))
        try:
            await follower.left
        finally:
            self._followers.discard(follower)
            self._rest()
        return follower.position

    def _rest(self) -> None:
        if not self._followers and self._sending is not None:
            self._sending.cancel()
            self._sending = None

    async def _send(self, position: int) -> None:
        """Sends all from `position` on."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await more(self._log, position, self._last_sent)
                self._last_sent = loop.time()
                try:
                    piece = await self._log.read(position, self._chunk())
                except LogUnreadable:
                    return  # each finds out by itself
                if not piece and self._log.sealed:
                    return
                await self._give(position, piece)
                position += len(piece)
                await asyncio.sleep(0)  # others have their turn, also while the log grows without a pause
        finally:
            if self._sending is asyncio.current_task():
                self._sending = None
                for follower in self._followers:
                    follower.leave()

    async def _give(self, position: int, piece: bytes) -> None:
        turn_since = time.monotonic()
        for follower in tuple(self._followers):
            if follower.left.done():
                continue  # it left while others had their turn
            if follower.position < position:
                follower.leave()  # it reads by itself what is between
                continue
            # Who has come since the last piece has read some of this one already.
            data = piece[follower.position - position :]
            if not data:
                continue
            if not follower.connection.pass_on(data):
                follower.leave()
                continue
            follower.position += len(data)
            metrics.SENT_BYTES.inc(len(data))
            if time.monotonic() - turn_since > _TURN_SECONDS:
                await asyncio.sleep(0)
                turn_since = time.monotonic()
