"""Search, outline and comparison of logs. `scan.py` does it, in a process that is killed when it takes long.

Or when nobody wants to know any more: what is cancelled here leaves no process behind. Everybody has one
search, one outline and one comparison at a time, so that slow ones of one user keep no others waiting;
outlines, which come with each page, don't wait for searches.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rapidflow_web.errors import RapidFlowError, TooManyRequests
from rapidflow_web.logs import difference, line_map
from rapidflow_web.logs.files import File, PlainFile, open_file
from rapidflow_web.logs.log import CHUNK, Log
from rapidflow_web.processes import Program
from rapidflow_web.shielding import to_the_end

_log = logging.getLogger(__name__)

_SCAN = Path(__file__).with_name("scan.py")
_SECONDS = 10
_LONGEST_REASON = 200
_AT_ONCE = 2
_MOST_WAITING = 20
_RETRY = 1.0
"""Seconds after which somebody who asked for too much at once may ask again."""


def _packages() -> str:
    engine = importlib.util.find_spec("re2")
    if engine is None or engine.origin is None:
        raise ModuleNotFoundError("google-re2 is not installed")
    return str(Path(engine.origin).parent.parent)


_PACKAGES = _packages()
"""Where the engine for regular expressions is; `scan.py` starts without any packages."""


@dataclass(slots=True)
class _Turns:
    asked: int = 0
    one: asyncio.Lock = field(default_factory=asyncio.Lock)


class _Slots:
    """Slots for something slow: so many at once, and one for each who asks."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._all = asyncio.Semaphore(_AT_ONCE)
        self._of: dict[str, _Turns] = {}

    @contextlib.asynccontextmanager
    async def turn(self, who: str) -> AsyncGenerator[None]:
        """Waits for a slot, and holds it. Raises `TooManyRequests`."""
        turns = self._of.setdefault(who, _Turns())
        if turns.asked >= _MOST_WAITING:
            raise TooManyRequests(f"you have {turns.asked} {self._what} waiting; let one end first", _RETRY)
        turns.asked += 1
        try:
            async with turns.one, self._all:
                yield
        finally:
            turns.asked -= 1
            if not turns.asked:
                del self._of[who]


_searches = _Slots("searches")
outline_slots = _Slots("outlines")
"""What it takes to outline a log."""
comparisons = _Slots("comparisons")
"""What it takes to compare two builds, with all that is asked for it."""


class CannotSearch(RapidFlowError):
    """What is asked for can't be searched for, or takes too much; the message says why."""


class SearchFailed(CannotSearch):
    """It is not the fault of what is asked for that nothing was searched; the message says why."""


@dataclass(frozen=True, slots=True)
class _Task:
    """What is done with logs, for messages."""

    doing: str
    advice: str = ""
    """What whoever asked for it can do when it takes too much."""

    def too_much(self, what: str) -> CannotSearch:
        return CannotSearch(f"{self.doing} takes too {what}{self.advice}")

    def failed(self, reason: object) -> SearchFailed:
        return SearchFailed(f"{self.doing} failed: {reason}")


_SEARCHING = _Task("searching this log", "; make the expression simpler")
_OUTLINING = _Task("outlining this log")
_EXPLAINING = _Task("looking for an error in this log")
_COMPARING = _Task("comparing these logs")


async def search(log: Log, text: str, *, case: bool, regex: bool, who: str = "") -> dict[str, Any]:
    """The lines of a log that match `text`, counted from 0: `count`, `lines` (the first of them), `complete`.

    `who` asks for it. Regular expressions are those of RE2. Raises `CannotSearch`, `TooManyRequests`.
    """
    request = {"search": {"text": text, "case": case, "regex": regex}, "packages": _PACKAGES}
    async with _searches.turn(who):
        answer = await _scan(_SEARCHING, request, log)
    if "error" in answer:
        raise CannotSearch(f"this is not a regular expression: {answer['error']}")
    return answer


async def outline(log: Log, step: int | None, *, has_failed: bool = True) -> dict[str, Any]:
    """The groups that a build printed, and the first error in the step with the id `step`.

    Of a step that has not failed, only a line counts that is surely an error.
    `{"groups": [{"line", "end", "title", "closed", "marked"}], "error": {"line", "offset"} or None, "styles":
    [[offset, parameters]], "styles_until", "size"}`; lines count from 0, and styles are those with which the
    parts of the line map begin that begin before `styles_until`: where one has another style than the part
    before it; the first is plain. For who has one of `outline_slots`. Raises `CannotSearch`.
    """
    steps = [[span.start, log.size if span.end is None else span.end] for span in log.layout.spans]
    span = log.layout.span(step) if step is not None else None
    suspect = [span.start, log.size if span.end is None else span.end] if span is not None else None
    size = log.size
    outlined: dict[str, Any] = {"steps": steps, "suspect": suspect, "has_failed": has_failed}
    points = await asyncio.to_thread(line_map.points, log.path.with_suffix(".index"), size)
    outlined["points"] = [offset for offset, _ in points]
    answer = await _scan(_OUTLINING, {"outline": outlined}, log)
    if missing := answer.pop("styles_missing", None):
        _log.error("the styles of %s can't be read: %s", log.path.name, missing)
    return answer | {"size": size}


async def telling_line(log: Log, step: int) -> dict[str, int] | None:
    """The first line of the step with the id `step` that tells of an error: its `line` and `offset`.

    None where none does. Raises `CannotSearch`, `TooManyRequests`.
    """
    span = log.layout.span(step)
    if span is None:
        return None
    asked = {"start": span.start, "end": log.size if span.end is None else span.end}
    async with outline_slots.turn(""):
        return await _scan(_EXPLAINING, {"telling_line": asked}, log)


async def first_difference(one: Log, other: Log) -> difference.Difference | None:
    """Where two logs first differ in their first `difference.MOST` bytes; for who has one of `comparisons`.

    None where they say the same. Raises `CannotSearch`.
    """
    most = difference.MOST
    goes_on = {
        "one_goes_on": one.size > most or not one.sealed,
        "other_goes_on": other.size > most or not other.sealed,
    }
    found = await _scan(_COMPARING, {"difference": goes_on}, one, other, most=most)
    return None if found is None else difference.Difference(**found)


async def _scan(task: _Task, request: dict[str, Any], *logs: Log, most: int | None = None) -> Any:
    """What `scan.py` answers of up to `most` bytes of each log."""
    try:
        async with contextlib.AsyncExitStack() as opened:
            files = [await opened.enter_async_context(_plain(log, most)) for log in logs]
            return await _run(task, request, files)
    except OSError as error:
        # To close a file may fail as well, on a full disk.
        raise task.failed(error.strerror or error) from error


@contextlib.asynccontextmanager
async def _plain(log: Log, most: int | None) -> AsyncGenerator[tuple[Path, int]]:
    """A file with up to `most` bytes of a log, and how many. Raises `OSError`."""
    size = log.size if most is None else min(log.size, most)
    try:
        file = open_file(log.path)
    except FileNotFoundError:
        yield log.path, 0  # nothing was written yet
        return
    if isinstance(file, PlainFile):
        yield log.path, size
        return
    # On the disk, because a log may be larger than memory; it has no name, and goes when it is closed.
    with tempfile.TemporaryFile(dir=log.path.parent) as plain:
        await to_the_end(asyncio.to_thread(_unpack, file, size, plain))
        yield Path(f"/proc/{os.getpid()}/fd/{plain.fileno()}"), size


def _unpack(file: File, size: int, plain: IO[bytes]) -> None:
    for offset in range(0, size, CHUNK):
        plain.write(file.read(offset, min(CHUNK, size - offset)))
    plain.flush()


async def _run(task: _Task, request: dict[str, Any], files: Sequence[tuple[Path, int]]) -> Any:
    """What `scan.py` answers. When it is cancelled, the process is gone. Raises `OSError`."""
    words = [str(word) for file in files for word in file]
    with Program(sys.executable, "-I", "-S", str(_SCAN), *words, has_input=True) as process:
        try:
            async with asyncio.timeout(_SECONDS):
                answer, complaints = await process.communicate(
                    json.dumps({"seconds": 2 * _SECONDS, **request}).encode()
                )
        except TimeoutError:
            raise task.too_much("long") from None
        finally:
            process.kill()
            code = await process.wait()
    if code != 0:
        raise _told(task, code, complaints)
    return json.loads(answer)


def _told(task: _Task, code: int, complaints: bytes) -> CannotSearch:
    """Why a scan ended without an answer."""
    if -code in (signal.SIGALRM, signal.SIGXCPU):
        return task.too_much("long")
    if b"MemoryError" in complaints or b"bad_alloc" in complaints:
        return task.too_much("much memory")
    words = complaints.decode("utf-8", "replace").strip().splitlines()
    reason = words[-1][:_LONGEST_REASON] if words else ""
    _log.error("%s ended with code %d: %s", task.doing, code, reason or "it said nothing")
    return task.failed(f"ended by signal {-code}; try again" if code < 0 else "the server's log says why")
