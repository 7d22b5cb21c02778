"""Work that goes on when the task that waits for it is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from rapidflow_web.shielding import to_the_end


async def test_the_result_of_the_work_is_given():
    assert await to_the_end(asyncio.sleep(0, "done")) == "done"


async def test_what_the_work_raises_is_raised():
    async def fail() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        await to_the_end(fail())


async def test_a_cancelled_caller_waits_for_the_end_of_the_work():
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await may_end.wait()
        ended.set()

    caller = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()


async def test_a_cancelled_caller_has_only_so_much_patience():
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await may_end.wait()

    caller = asyncio.create_task(to_the_end(work(), patience=0.01))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not may_end.is_set()
    may_end.set()
