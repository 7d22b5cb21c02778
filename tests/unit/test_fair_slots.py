"""Slots for slow work are shared fairly by those who ask for it."""

from __future__ import annotations

import asyncio
import contextlib

from rapidflow_web.accounts.fair_slots import FairSlots


class Worker:
    """Works in turns; `done` says whose work was done, in this order."""

    def __init__(self, at_once: int) -> None:
        self.slots = FairSlots(at_once)
        self.done: list[str] = []
        self.at_work = self.most = 0
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def work(self, whose: str) -> None:
        async with self.slots.slot(whose):
            self.at_work += 1
            self.most = max(self.most, self.at_work)
            self.begun.set()
            await self.go_on.wait()
            self.at_work -= 1
            self.done.append(whose)


async def test_a_flood_of_one_lets_all_others_wait_for_one_piece_of_its_work() -> None:
    worker = Worker(2)
    tasks = [asyncio.create_task(worker.work("flood")) for _ in range(50)]
    await worker.begun.wait()
    tasks += [asyncio.create_task(worker.work(whose)) for whose in ("anna", "bob", "anna")]
    await asyncio.sleep(0)
    worker.go_on.set()
    await asyncio.gather(*tasks)
    assert worker.most == 2
    assert worker.done[:7] == ["flood", "flood", "flood", "anna", "bob", "flood", "anna"]
    assert len(worker.done) == 53


async def test_who_gives_up_leaves_the_turn_to_the_next() -> None:
    worker = Worker(1)
    names = ("first", "gone", "gone at its turn", "last")
    tasks = [asyncio.create_task(worker.work(whose)) for whose in names]
    await worker.begun.wait()
    tasks[1].cancel()
    await asyncio.sleep(0)
    worker.go_on.set()
    await tasks[0]
    tasks[2].cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert worker.done[0] == "first" and worker.done[-1] == "last"
    await worker.work("another")
