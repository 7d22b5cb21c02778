"""Measures how late the event loop is, which delays everybody at once."""

from __future__ import annotations

import asyncio

from rapidflow_web import metrics

_SECONDS = 1.0


async def measure() -> None:
    """Measures until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _SECONDS
        await asyncio.sleep(_SECONDS)
        metrics.LOOP_LAG.observe(max(0.0, loop.time() - due))
