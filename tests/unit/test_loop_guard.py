"""What holds the event loop is noticed, with the code that did it; what is not ours is not."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rapidflow_web import metrics
from rapidflow_web.server import loop_guard
from tests.support.stalls import Stalls

SOME_BEATS = 0.3


def compute_for_long() -> None:
    end = time.thread_time() + 0.4
    while time.thread_time() < end:
        pass


def match_for_long() -> None:
    # In one call that holds the interpreter, so that no other thread can look meanwhile.
    end = time.thread_time() + 0.4
    size = 1000
    while time.thread_time() < end:
        size *= 2
        re.search(r"[^\n\r]*\r+(?=[^\n\r])", "\r" * size)


def wait_for_long() -> None:
    time.sleep(0.4)


def stalls(kind: str) -> float:
    return metrics.LOOP_STALLS.labels(kind)._value.get()


async def watched(call: Callable[[], None]) -> tuple[float, float]:
    """Calls it on a watched loop; the busy and the blocked stalls that were noticed."""
    before = stalls("busy"), stalls("blocked")
    watching = asyncio.create_task(loop_guard.watch())
    await asyncio.sleep(SOME_BEATS)
    call()
    await asyncio.sleep(SOME_BEATS)
    watching.cancel()
    await asyncio.wait({watching})
    return stalls("busy") - before[0], stalls("blocked") - before[1]


@pytest.mark.parametrize("call", [compute_for_long, match_for_long])
async def test_what_computes_on_the_loop_is_counted_and_its_stack_logged(
    call: Callable[[], None], caplog: pytest.LogCaptureFixture
):
    assert (await watched(call))[0] >= 1
    assert call.__name__ in caplog.text


async def test_what_sleeps_on_the_loop_is_blocked_and_not_busy(caplog: pytest.LogCaptureFixture):
    assert await watched(wait_for_long) == (0, 1)
    assert "time.sleep(0.4)" in caplog.text


async def test_each_stall_of_a_loop_that_rested_is_found(caplog: pytest.LogCaptureFixture):
    before = stalls("busy")
    watching = asyncio.create_task(loop_guard.watch())
    for number in range(5):
        # At another moment between two looks each time.
        await asyncio.sleep(SOME_BEATS + number * 0.01)
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass
    await asyncio.sleep(SOME_BEATS)
    watching.cancel()
    await asyncio.wait({watching})
    assert stalls("busy") >= before + 5
    assert caplog.text.count("while time.thread_time() < end") == 5


async def test_a_loop_that_rests_is_hardly_woken():
    before = answers()
    watching = asyncio.create_task(loop_guard.watch())
    await asyncio.sleep(2)
    watching.cancel()
    await asyncio.wait({watching})
    assert 1 <= answers() - before <= 10


def answers() -> float:
    """How often the loop has told its lag."""
    return sum(bucket.get() for bucket in metrics.LOOP_LAG._buckets)


async def test_work_in_many_short_turns_is_no_stall():
    watching = asyncio.create_task(loop_guard.watch())
    before = stalls("busy")
    for _ in range(20):
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait({watching})
    assert stalls("busy") == before


_STOPPED = """
import asyncio, os, time, uvloop
from rapidflow_web import metrics
from rapidflow_web.server import loop_guard

async def main():
    watching = asyncio.create_task(loop_guard.watch())
    await asyncio.sleep(0.3)
    pid = os.getpid()
    stop = f"for n in 1 2 3 4; do kill -STOP {pid}; sleep 0.3; kill -CONT {pid}; sleep 0.2; done"
    stopping = await asyncio.create_subprocess_exec("sh", "-c", stop)
    while stopping.returncode is None:
        # It is stopped within a callback that sleeps, as one that reads a file does.
        time.sleep(0.04)
        await asyncio.sleep(0)
    await stopping.wait()
    await asyncio.sleep(0.3)
    watching.cancel()
    print([metrics.LOOP_STALLS.labels(kind)._value.get() for kind in ("busy", "blocked")])

uvloop.run(main())
"""


def test_a_process_that_was_stopped_has_not_stalled():
    done = subprocess.run([sys.executable, "-c", _STOPPED], capture_output=True, text=True, check=True)
    assert done.stdout == "[0.0, 0.0]\n"


async def test_stalls_are_logged_ten_times_a_minute_and_all_counted(caplog: pytest.LogCaptureFixture):
    guard = loop_guard._Guard(asyncio.get_running_loop())
    before = stalls("busy")
    for _ in range(15):
        guard._tell(loop_guard._Late(1.0, 1.0), None)
    guard.end()
    assert stalls("busy") == before + 15
    assert len(caplog.records) == 10


def test_the_tests_find_each_stall_of_a_server_once(tmp_path: Path):
    log = tmp_path / "log"
    found = Stalls(log)
    assert found.new() == []
    log.write_text(
        "ready\nWARNING the event loop was held for 900 ms (800 ms of CPU time) by:\n"
        "  a.py:1 f: g()\n  a.py:2 g\nnext\n"
    )
    assert found.new() == [
        "WARNING the event loop was held for 900 ms (800 ms of CPU time) by:\n  a.py:1 f: g()\n  a.py:2 g"
    ]
    assert found.new() == []
    with log.open("a") as file:
        file.write("WARNING the event loop was blocked for 900 ms (800 ms of CPU time) by:\n  a.py:1 f\n")
    assert found.new() == []
