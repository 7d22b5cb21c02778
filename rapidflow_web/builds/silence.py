"""Notices a build that prints nothing for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType


class Silence:
    """Calls `too_long` when `limit` seconds passed without a `broken`, and again after as many; None: never.

    Listens inside an `async with` block.
    """

    def __init__(self, limit: float | None, too_long: Callable[[], None]) -> None:
        self._limit = limit
        self._too_long = too_long
        self._since: float | None = None
        self.longest = 0.0
        """The longest silence since `begin`, in seconds, without the present one."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def since(self) -> float | None:
        """When something was last printed, by the clock of the loop; None while nobody has listened yet."""
        return self._since

    @property
    def lasts(self) -> float:
        """Seconds since something was printed; 0 while nobody has listened yet."""
        return 0.0 if self._since is None else asyncio.get_running_loop().time() - self._since

    def begin(self) -> None:
        """Somebody else speaks from now on."""
        self.longest, self._since = 0.0, asyncio.get_running_loop().time()

    def broken(self) -> None:
        """Something was printed."""
        # The timer stays as it is and looks when it is due, because this is called very often.
        self.longest, self._since = max(self.longest, self.lasts), asyncio.get_running_loop().time()

    def restart(self) -> None:
        """Nobody could hear anything until now, so the silence before says nothing."""
        self._since = asyncio.get_running_loop().time()

    async def __aenter__(self) -> None:
        self._since = asyncio.get_running_loop().time()
        if self._limit is not None:
            self._listen(self._limit)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _listen(self, limit: float) -> None:
        left = limit - self.lasts
        if left <= 0:
            self._too_long()
            self.restart()
            left = limit
        self._timer = asyncio.get_running_loop().call_later(left, self._listen, limit)
