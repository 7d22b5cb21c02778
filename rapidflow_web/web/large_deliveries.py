"""Bounds the memory that deliveries of webhooks take together: many may send large ones at a time."""

from __future__ import annotations

import asyncio

from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    Scope,
)

from rapidflow_web.web.body import HOOKS

LARGE = 1024 * 1024
"""Bytes of a body up to which it need not wait for others."""
MOST = 8


class LargeDeliveries:
    """Gives requests to `app`; of large deliveries `MOST` at a time, while others wait in their sockets.

    The framework reads a body whether somebody asks for it or not, so it is held back before.
    """

    def __init__(self, app: ASGIFramework) -> None:
        self._app = app
        self._slots = asyncio.Semaphore(MOST)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(HOOKS):
            await self._app(scope, receive, send)
            return
        size, has_slot = 0, False

        async def next_event() -> ASGIReceiveEvent:
            nonlocal size, has_slot
            event = await receive()
            if event["type"] == "http.request":
                size += len(event["body"])
                if size > LARGE and not has_slot:
                    await self._slots.acquire()
                    has_slot = True
            return event

        try:
            await self._app(scope, next_event, send)
        finally:
            if has_slot:
                self._slots.release()
