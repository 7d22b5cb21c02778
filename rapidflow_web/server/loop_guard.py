"""Watches the event loop, on which everybody waits: measures how late it is, and tells what holds it.

A timer on the loop beats. A thread beside the loop notices a beat that does not come, and takes the stack of
the loop's thread; the next beat knows how long that took, on the clock and in CPU time of the loop's thread.
A stall is `busy` if the thread computed for over 100 ms: that is code of ours, however slow the machine is.
It is `blocked` if the thread slept inside of a callback. A process that was stopped, or that the machine gave
no processor, did neither, and nothing is said of it.
"""

from __future__ import annotations

import asyncio
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
_BEAT = 0.05
_SUSPECT = 0.05
"""Seconds for which a beat is late when the stack is taken: later, a short stall may be over."""
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
    """What the loop's thread did when a beat was missed."""

    beat: int
    stack: list[_Place]
    """The innermost first; empty where the loop ran no Python code."""
    slept: bool
    """Whether the thread waited for something else than a processor."""


@dataclass(frozen=True, slots=True)
class _Late:
    """A beat that came late."""

    beat: int
    seconds: float
    cpu_seconds: float


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
        self._beat = 0
        self._came = time.monotonic()
        self._cpu = time.thread_time()
        self._base: CodeType | None = None
        """What runs the loop, the first beat tells."""
        self._late: deque[_Late] = deque()
        self._logged: deque[float] = deque(maxlen=_MOST_LOGGED)
        self._timer = loop.call_later(_BEAT, self._on_beat)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="loop-guard", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stops, when what was noticed is told."""
        self._timer.cancel()
        self._ended.set()
        self._thread.join(1)

    def _on_beat(self) -> None:
        now, cpu = time.monotonic(), time.thread_time()
        late = max(0.0, now - self._came - _BEAT)
        metrics.LOOP_LAG.observe(late)
        if late > STALL:
            # At most a beat's worth was computed before this beat was due; the rest was computed after that.
            self._late.append(_Late(self._beat, late, max(0.0, cpu - self._cpu - _BEAT)))
        if self._base is None and (frame := inspect.currentframe()) is not None:
            self._base = frame.f_back.f_code if frame.f_back is not None else None
        self._came, self._cpu = now, cpu
        self._beat += 1
        self._timer = self._loop.call_later(_BEAT, self._on_beat)

    def _look(self) -> None:
        seen: _Seen | None = None
        ended = False
        while not ended:
            ended = self._ended.wait(_BEAT)
            beat = self._beat
            if time.monotonic() - self._came > _BEAT + _SUSPECT and (seen is None or seen.beat != beat):
                seen = _Seen(beat, self._stack(), self._sleeps())
            while self._late:
                late = self._late.popleft()
                self._tell(late, seen if seen is not None and seen.beat == late.beat else None)

    def _stack(self) -> list[_Place]:
        frame: FrameType | None = sys._current_frames().get(self._loop_thread)  # pyright: ignore[reportPrivateUsage]
        stack: list[_Place] = []
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


def _words(stack: list[_Place]) -> str:
    if not stack:
        return "  (the loop itself)"
    return "\n".join(
        f"  {place.file}:{place.line} {place.function}: {linecache.getline(place.file, place.line).strip()}"
        for place in reversed(stack)
    )
