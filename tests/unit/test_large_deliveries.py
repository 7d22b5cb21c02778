"""Large deliveries wait for each other before they take memory."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from rapidflow_web.web.large_deliveries import LARGE, MOST, LargeDeliveries


class _Bodies:
    """An application that keeps the body of each request until `may_end`."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.most = 0
        self.done = 0
        self.may_end = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        number = len(self.held) + self.done
        self.held[number] = 0
        while True:
            event = await receive()
            self.held[number] += len(event["body"])
            self.most = max(self.most, sum(size > LARGE for size in self.held.values()))
            if not event["more_body"]:
                break
        await self.may_end.wait()
        del self.held[number]
        self.done += 1


def _asked(app: LargeDeliveries, path: str, size: int) -> asyncio.Task[None]:
    pieces = [b"x" * min(LARGE // 2, size - at) for at in range(0, size, LARGE // 2)]

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    scope = {"type": "http", "path": path}
    return asyncio.create_task(cast(Any, app)(scope, receive, None))


@pytest.mark.parametrize(("path", "most"), [("/hooks/x", MOST), ("/pipelines", 3 * MOST)])
async def test_so_many_large_bodies_are_held_at_a_time(path: str, most: int) -> None:
    bodies = _Bodies()
    app = LargeDeliveries(cast(Any, bodies))
    large = [_asked(app, path, 2 * LARGE) for _ in range(3 * MOST)]
    for _ in range(200):
        await asyncio.sleep(0)
    assert bodies.most == most
    small = _asked(app, path, LARGE)
    for _ in range(200):
        await asyncio.sleep(0)
    assert LARGE in bodies.held.values()
    bodies.may_end.set()
    await asyncio.gather(*large, small)
    assert bodies.most <= most and bodies.done == 3 * MOST + 1


async def test_who_leaves_makes_room_for_the_next() -> None:
    bodies = _Bodies()
    app = LargeDeliveries(cast(Any, bodies))
    large = [_asked(app, "/hooks/x", 2 * LARGE) for _ in range(2 * MOST)]
    for _ in range(200):
        await asyncio.sleep(0)
    for one in large[:MOST]:
        one.cancel()
    bodies.may_end.set()
    await asyncio.gather(*large[MOST:])
    assert bodies.done == MOST
