"""For how many repositories git works at a time.

Git waits for `RAPIDFLOW_FETCH_TIMEOUT` for one that does not answer, so work that takes long counts apart
from the rest: repositories that hang hold up no others.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator

_AT_ONCE = 4
"""Pieces of work at a time, also of a single repository."""
_LONG = 32
"""Pieces of work beside them that take longer than `_SOON`."""
_SOON = 10.0
"""Seconds."""


class Slots:
    """The slots for work with git."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(_AT_ONCE + _LONG)
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._of_one: weakref.WeakValueDictionary[int, asyncio.Semaphore] = weakref.WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def of(self, repository_id: int) -> AsyncGenerator[None]:
        """A slot for a piece of work at a repository."""
        of_one = self._of_one.setdefault(repository_id, asyncio.Semaphore(_AT_ONCE))
        # Its own first: whatever waits for that takes no slot of others.
        async with of_one, self._all:
            await self._at_once.acquire()
            with contextlib.ExitStack() as taken:
                taken.callback(self._at_once.release)
                timer = asyncio.get_running_loop().call_later(_SOON, taken.close)
                taken.callback(timer.cancel)
                yield
