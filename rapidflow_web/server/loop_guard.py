"""Watches the event loop, on which everybody waits: measures how late it is, and tells what holds it.

A thread beside the loop looks twenty times a second whether the loop's thread is at work, and if so asks the
loop for an answer. It notices an answer that does not come, and takes the stack of the loop's thread; the
answer tells how long that took, on the clock and in CPU time of the loop's thread. A loop that rests is asked
only once a second, as each answer costs more than many looks.
A stall is `busy` if the thread computed for over 100 ms: that is code of ours, however slow the machine is.
It is `blocked` if the thread slept inside of a callback. A process that was stopped, or that the machine gave
no processor, did neither, and nothing is said of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import linecache
import logging
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

from rapidflow_web import metrics

STALL = 0.1
"""Seconds for which a turn of the loop may take."""
_LOOKS = 0.05
"""Seconds between two looks."""
_AT_WORK = 0.02
"""Seconds of CPU time between two looks from which on the loop is asked, whatever it does just then."""
_SUSPECT = 0.05
"""Seconds for which an answer is late when the stack is taken: later, a short stall may be over."""
_ON_TIME = 0.1
"""Seconds between two looks from which on the second was late."""
_ASKED_AT_REST = 1.0
"""Seconds between two answers of a loop that rests."""
_MOST_FRAMES = 40
_MOST_LOGGED = 10
_LOGGED_WITHIN = 60.0
_log = logging.getLogger(__name__)


class _Place(NamedTuple):
    file: str
    line: int
    function: str


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the loop's thread did when an answer was missed."""

    stack: list[_Place]
    """The innermost first; empty where the loop ran no Python code."""
    slept: bool
    """Whether the thread waited for something else than a processor."""


@dataclass(frozen=True, slots=True)
class _Late:
    """How late an answer was."""

    seconds: float
    cpu_seconds: float


@dataclass(slots=True)
class _Question:
    """Asked of the loop, by a look that was due at `due`."""

    due: float
    cpu: float
    """CPU time of the loop's thread at the look before."""
    answer: _Late | None = None
    seen: _Seen | None = None


async def watch() -> None:
    """Watches the running loop until it is cancelled."""
    guard = _Guard(asyncio.get_running_loop())
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        guard.end()


class _Guard:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._status = Path(f"/proc/self/task/{threading.get_native_id()}/stat")
        self._clock = _clock_of(self._loop_thread)
        self._base: CodeType | None = None
        """What runs the loop, the first answer tells."""
        self._logged: deque[float] = deque(maxlen=_MOST_LOGGED)
        self._ended = False
        self._thread = threading.Thread(target=self._watch, name="loop-guard", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stops, when what was noticed is told."""
        self._ended = True
        self._thread.join(1)

    def _answer(self, question: _Question) -> None:
        # At most what a look's time allows was computed before the look was due; the rest, after that.
        cpu_seconds = self._cpu() - question.cpu - _LOOKS
        late = _Late(max(0.0, time.monotonic() - question.due), max(0.0, cpu_seconds))
        if self._base is None and (frame := inspect.currentframe()) is not None:
            self._base = frame.f_back.f_code if frame.f_back is not None else None
        question.answer = late

    def _cpu(self) -> float:
        """CPU time of the loop's thread in seconds; of the process where the platform can't tell."""
        return time.process_time() if self._clock is None else time.clock_gettime(self._clock)

    def _watch(self) -> None:
        looked, cpu, asked = time.monotonic(), self._cpu(), float("-inf")
        question: _Question | None = None
        rests = ended = False
        while not ended:
            # That costs half of what it takes to wait for an event or a lock.
            time.sleep(_LOOKS)
            ended = self._ended
            before, cpu_before = looked, cpu
            looked, cpu = time.monotonic(), self._cpu()
            if question is not None and question.answer is not None:
                metrics.LOOP_LAG.observe(question.answer.seconds)
                if question.answer.seconds > STALL:
                    self._tell(question.answer, question.seen)
                question = None
            # If it has rested and has not run since, it rests.
            if not rests or cpu > cpu_before:
                rests = cpu - cpu_before < _AT_WORK and not self._is_at_work()
            if question is None and not ended and (not rests or looked - asked > _ASKED_AT_REST):
                question, asked = _Question(before + _LOOKS, cpu_before), looked
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._answer, question)
            if question is not None and question.seen is None and looked - question.due > _SUSPECT:
                # Of a look that is late itself, the sleep says nothing: the process may have been stopped.
                question.seen = _Seen(self._stack(), looked - before < _ON_TIME and self._sleeps())

    def _is_at_work(self) -> bool:
        """Whether the loop's thread is in a callback."""
        frame = self._frame()
        if frame is None or frame.f_code is self._base:
            return False
        while frame is not None and frame.f_code is not self._base:
            frame = frame.f_back
        return frame is not None

    def _frame(self) -> FrameType | None:
        return sys._current_frames().get(self._loop_thread)  # pyright: ignore[reportPrivateUsage]

    def _stack(self) -> list[_Place]:
        if not self._is_at_work():
            return []
        frame, stack = self._frame(), list[_Place]()
        while frame is not None and frame.f_code is not self._base and len(stack) < _MOST_FRAMES:
            stack.append(_Place(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name))
            frame = frame.f_back
        return stack

    def _sleeps(self) -> bool:
        try:
            # Its third word; the second, a name in brackets, may have spaces.
            return self._status.read_text().rpartition(") ")[2][:1] in "SD"
        except OSError:
            return False  # not on this platform

    def _tell(self, late: _Late, seen: _Seen | None) -> None:
        busy = late.cpu_seconds > STALL
        if not busy and (seen is None or not seen.stack or not seen.slept):
            return  # nothing of ours: the process was stopped, or the machine had no time for it
        metrics.LOOP_STALLS.labels("busy" if busy else "blocked").inc()
        now = time.monotonic()
        if len(self._logged) == _MOST_LOGGED and now - self._logged[0] < _LOGGED_WITHIN:
            return
        self._logged.append(now)
        _log.warning(
            "%s for %d ms (%d ms of CPU time) by:\n%s",
            "the event loop was held" if busy else "the event loop was blocked",
            late.seconds * 1000,
            late.cpu_seconds * 1000,
            _words(seen.stack if seen is not None else []),
        )


def _clock_of(thread: int) -> int | None:
    """The clock of a thread's CPU time; None where the platform has none."""
    clock = getattr(time, "pthread_getcpuclockid", None)
    return clock(thread) if clock is not None else None


def _words(stack: list[_Place]) -> str:
    if not stack:
        return "  (the loop itself)"
    return "\n".join(
        f"  {place.file}:{place.line} {place.function}: {linecache.getline(place.file, place.line).strip()}"
        for place in reversed(stack)
    )
