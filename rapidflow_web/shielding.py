"""Work that must not be left half done when the task that waits for it is cancelled, and work that something
else ends early."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class EndedEarly(Exception):
    """What was to end the work happened first."""


async def unless(happened: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Where `happened` is set before it is done, it is cancelled.

    Raises `EndedEarly` then, once `work` has ended. A cancelled caller cancels both.
    """
    task = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(happened.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise EndedEarly
        return task.result()
    finally:
        waiting.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def to_the_end(
    work: Coroutine[Any, Any, T], patience: float | None = None, cancelled: Callable[[], None] | None = None
) -> T:
    """The result of `work`, which goes on when the caller is cancelled; the cancel is raised after it.

    With `patience`, a cancelled caller waits for that many seconds at most, after it has called `cancelled`.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if cancelled is not None:
            cancelled()
        await asyncio.wait({task}, timeout=patience)
        # Nobody is there any more to be told of its error.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise
