"""Work that goes on when the task that waits for it is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from rapidflow_web.shielding import EndedEarly, to_the_end, unless


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


async def test_work_that_nothing_ends_early_gives_its_result() -> None:
    assert await unless(asyncio.Event(), asyncio.sleep(0, "done")) == "done"


async def test_work_that_is_ended_early_has_cleaned_up_before_the_caller_goes_on() -> None:
    happened, cleaned_up = asyncio.Event(), False

    async def work() -> None:
        nonlocal cleaned_up
        try:
            happened.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up = True

    with pytest.raises(EndedEarly):
        await unless(happened, work())

    assert cleaned_up


async def test_error_of_the_work_reaches_the_caller() -> None:
    async def fail() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        await unless(asyncio.Event(), fail())


async def test_cancelled_caller_ends_the_work() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    caller = asyncio.create_task(unless(asyncio.Event(), work()))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
