"""Sends what is stored: in each lane one message after the other, and lanes beside each other.

A lane is what fails as one: the forge of a repository, a mail address, a webhook. One that hangs or is
down delays no other. What is to be sent, and when, is in the database alone, so that a kill loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from rapidflow_web.db.database import now_ms

_log = logging.getLogger(__name__)

_MOST = 32
"""Lanes at a time."""
_LOOK_AGAIN = 10.0
"""Seconds. Whoever wakes within a transaction does so before others can see its rows."""
_SET_BACK = 60_000
"""Milliseconds. Where the clock is set back by less, what waits for a time waits that much longer."""
_AFTER_A_FAULT = 10.0
"""Seconds that a lane rests after an error of ours."""

Lane = TypeVar("Lane")


class Messages(Protocol[Lane]):
    """What a sender sends."""

    async def lanes(self, now: int) -> Sequence[Lane]:
        """The lanes that have something to send at a time in ms."""
        ...

    async def next_after(self, now: int) -> int | None:
        """When something is due that is not due yet, in ms."""
        ...

    async def clock_was_ahead(self, now: int, *, everything: bool) -> None:
        """Makes due `everything`, or what is newer than now: the clock was ahead when it was put off."""
        ...

    async def send_next(self, lane: Lane) -> bool:
        """Sends the next message of a lane, and notes how that went; False if there is none now."""
        ...


class Sender(Generic[Lane]):
    """`run` is its life; `wake` lets it look at what there is to send."""

    def __init__(self, messages: Messages[Lane]) -> None:
        self._messages = messages
        self._busy: set[Lane] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Sends until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            looked_at = None
            while True:
                # Before it looks: what comes meanwhile sets it again.
                self._wake.clear()
                now = now_ms()
                if looked_at is None or now < looked_at - _SET_BACK:
                    # At the start nobody knows what the clock was, and forges have asked to be left alone.
                    await self._messages.clock_was_ahead(now, everything=looked_at is not None)
                looked_at = now
                for lane in await self._messages.lanes(now):
                    if len(self._busy) < _MOST and lane not in self._busy:
                        self._busy.add(lane)
                        tasks.create_task(self._empty(lane))
                await self._rest(now)

    async def _rest(self, now: int) -> None:
        due = await self._messages.next_after(now)
        seconds = _LOOK_AGAIN if due is None else min(max(due - now_ms(), 0) / 1000, _LOOK_AGAIN)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _empty(self, lane: Lane) -> None:
        try:
            while await self._messages.send_next(lane):
                pass
        except Exception:
            _log.exception("a message could not be sent; it is tried again")
            await asyncio.sleep(_AFTER_A_FAULT)
        finally:
            self._busy.discard(lane)
            self._wake.set()


async def for_ever(work: Callable[[], Awaitable[None]], what: str) -> None:
    """Does `work`, which never ends by itself, and begins anew where a fault ends it. Ends when cancelled."""
    while True:
        try:
            await work()
        except Exception:
            _log.exception("%s failed; it begins anew", what)
        await asyncio.sleep(_AFTER_A_FAULT)
