"""Answers that are sent past the framework, whole and at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from hypercorn.typing import ASGISendCallable


def tells_of_body(name: bytes, value: bytes) -> bool:
    """Whether a request with this header has a body. Only the framework reads one; unread, it would block."""
    return name == b"transfer-encoding" or (name == b"content-length" and value != b"0")


async def send_whole(
    send: ASGISendCallable, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes, patience: float
) -> None:
    """Sends an answer. A client that does not take it within `patience` seconds is cut off."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            await send(
                {"type": "http.response.start", "status": status, "headers": headers, "trailers": False}
            )
            await send({"type": "http.response.body", "body": body, "more_body": False})
