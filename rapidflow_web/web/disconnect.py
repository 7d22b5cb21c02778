"""Requests whose client disconnects before the response."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from rapidflow_web.shielding import EndedEarly, to_the_end, unless

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
    try:
        return await unless(_disconnected.get(), work)
    except EndedEarly:
        raise asyncio.CancelledError from None
