"""Slots for slow work, which those who ask for it share fairly."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator


class FairSlots:
    """Lets `at_once` work at a time. A slot that is free goes to whoever has waited longest since their last.

    However much one of them asks for, all others wait for one piece of it at most.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def slot(self, whose: str) -> AsyncGenerator[None]:
        """Waits for the turn of `whose`, and holds a slot."""
        if self._free:
            self._free -= 1
        else:
            await self._turn(whose)
        try:
            yield
        finally:
            self._pass_on()

    async def _turn(self, whose: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(whose, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._pass_on()  # it came just before
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            whose, waiting = self._waiting.popitem(last=False)
            turn = waiting.popleft()
            if waiting:
                self._waiting[whose] = waiting  # behind all others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
