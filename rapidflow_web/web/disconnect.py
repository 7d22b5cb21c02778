"""Requests whose client goes away before it has its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from rapidflow_web.shielding import to_the_end

T = TypeVar("T")

_left: ContextVar[asyncio.Event] = ContextVar("left")


async def answered(handling: Coroutine[Any, Any, T], patience: float) -> T:
    """The answer to a request, which is made to its end also when the client goes away.

    Only what is in `while_client_waits` is then given up. With `patience` see `to_the_end`.
    """
    _left.set(left := asyncio.Event())
    return await to_the_end(handling, patience, left.set)


async def while_client_waits(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client of this request goes away."""
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_left.get().wait())
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left.cancel()
        if not task.done():
            task.cancel()
    return await task
