"""Work that must not be left half done when the task that waits for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T], patience: float | None = None) -> T:
    """The result of `work`, which goes on when the caller is cancelled; the cancel is raised after it.

    With `patience`, a cancelled caller waits for that many seconds at most.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=patience)
        raise
