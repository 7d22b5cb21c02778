"""Requests whose client disconnects before the response."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from rapidflow_web.shielding import to_the_end

T = TypeVar("T")

_disconnected: ContextVar[asyncio.Event] = ContextVar("disconnected")


async def finish_after_disconnect(handling: Coroutine[Any, Any, T], patience: float) -> T:
    """The response to a request, which is handled to its end also when the client disconnects.

    Only work in `until_disconnect` is then cancelled. For `patience` see `to_the_end`.
    """
    _disconnected.set(disconnected := asyncio.Event())
    return await to_the_end(handling, patience, disconnected.set)


async def until_disconnect(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client of this request disconnects."""
    task = asyncio.ensure_future(work)
    disconnected = asyncio.ensure_future(_disconnected.get().wait())
    try:
        await asyncio.wait({task, disconnected}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        disconnected.cancel()
        if not task.done():
            task.cancel()
    return await task
